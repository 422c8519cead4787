"""Measure what the Ray engine costs on one machine: the same answers, local and by Ray in turn. Run by hand.

OMP_NUM_THREADS=2 python tests/measure_engines.py runs/ml-qa-ko --rounds 2 \\
    --arms base.none,sft.none,sft.oracle,rag-sft.oracle
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from raglift.runfolder import RunFolder, recover_lines

ENGINES = ("local", "ray")


def copy_run(source: Path, target: Path, arms: list[str]) -> None:
    """A run with its adapters and ranking, without answers, of these arms alone."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("answers.*", "lock", "*.html"))
    folder = RunFolder(target)
    manifest = folder.read_manifest()
    stages = {name: noted for name, noted in manifest["stages"].items() if name.startswith("train")}
    config = {
        **manifest["config"],
        "arms": arms,
        "compare": {**manifest["config"]["compare"], "a": arms[0], "b": arms[-1]},
    }
    folder.update_manifest(config=config, answer_rows=0, stages=stages)


def answer(engine: str, options: argparse.Namespace) -> tuple[float, list[dict[str, Any]]]:
    """Seconds of the whole command, and its rows but for their times."""
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(scratch) / "run"
        copy_run(options.run, run, options.arms.split(","))
        started = time.monotonic()
        subprocess.run([sys.executable, "-m", "raglift", "answer", str(run), "--engine", engine], check=True)
        seconds = time.monotonic() - started
        return seconds, [{**row, "seconds": 0} for row in recover_lines(run / "answers.jsonl")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--arms", default="base.none,sft.none,rag-sft.none")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    taken: dict[str, list[float]] = {engine: [] for engine in ENGINES}
    rows = []
    for number in range(options.rounds):
        for engine in ENGINES if number % 2 == 0 else ENGINES[::-1]:
            seconds, made = answer(engine, options)
            taken[engine].append(round(seconds, 1))
            rows.append(made)
    local, by_ray = (median(taken[engine]) for engine in ENGINES)
    summary = {
        "answers": len(rows[0]), "same": all(made == rows[0] for made in rows), **taken,
        "overhead": round(by_ray / local - 1, 3), "load": [round(one, 1) for one in os.getloadavg()],
    }  # fmt: skip
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
