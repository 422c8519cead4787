"""The whole fault suite, by hand: `make faults`. Writes its table into docs/reliability.md."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import fault_cases
from conftest import build_tiny_model, write_experiment
from fault_lab import Ended, Lab, Row
from reliability_page import describe_machine, update_page

BEGIN, END = "<!-- fault table: written by make faults -->", "<!-- end of the fault table -->"
CASES = (
    "kills", "signals", "disk", "damage", "tuned", "verdicts", "processes", "changes", "memory", "numbers", "training",
    "hub", "clock",
)  # fmt: skip


def make_lab(root: Path) -> tuple[Lab, Path, Ended]:
    """The lab, and an undisturbed run with its stages' seconds."""
    source = write_experiment(root / "tiny", build_tiny_model(root / "model"))
    settings = source / "experiment.yaml"
    text = settings.read_text(encoding="utf-8")
    settings.write_text(text.replace("rag-sft.oracle\n", "rag-sft.oracle,rag-sft.retrieved\n"), encoding="utf-8")
    lab = Lab(root, source)
    lab.run(lab.make_folder())  # warms the disk's cache, so that the stages' seconds are those of later runs
    calm = lab.make_folder()
    ended = lab.run(calm)
    if ended.code != 0:
        raise SystemExit(ended.text)
    return lab, calm, ended


def list_rows(lab: Lab, calm: Path, ended: Ended, names: list[str], kills: int) -> Iterator[Row]:
    """Every case in turn."""
    cases = {
        "kills": lambda: fault_cases.kill_at_random(lab, calm, ended.stages, kills),
        "signals": lambda: fault_cases.stop_by_signal(lab, calm, ended.stages),
        "disk": lambda: fault_cases.spoil_disk(lab, calm),
        "damage": lambda: fault_cases.damage_artifacts(lab, calm),
        "tuned": lambda: fault_cases.damage_tuned_search(lab, calm),
        "verdicts": lambda: fault_cases.damage_verdicts(lab, calm),
        "processes": lambda: fault_cases.meet_another_process(lab, calm),
        "changes": lambda: fault_cases.change_inputs(lab, calm),
        "memory": lambda: fault_cases.run_out_of_memory(lab, calm),
        "numbers": lambda: fault_cases.leave_the_numbers(lab, calm),
        "training": lambda: fault_cases.stop_in_training(lab, calm),
        "hub": lambda: fault_cases.lose_the_hub(lab, calm),
        "clock": lambda: fault_cases.jump_in_time(lab, calm),
    }
    for name in names:
        yield from cases[name]()


def write_table(rows: list[Row], seconds: float, command: str) -> str:
    """The table as Markdown: faults × stages → outcome, with the counts of what went wrong."""
    counts = {
        kind: sum(p.startswith(kind) for row in rows for p in row.problems) for kind in ("lost", "mixed", "silent")
    }
    head = ", ".join(f"**{count} {kind}**" for kind, count in counts.items())
    grouped: dict[tuple[str, str, bool], list[Row]] = {}
    for row in rows:
        grouped.setdefault((row.fault, row.outcome, bool(row.problems)), []).append(row)
    lines = [f"{sum(row.tries for row in rows)} disturbances: {head}.", "", "| fault | stage | times | outcome |",
             "|---|---|---:|---|"]  # fmt: skip
    for (fault, outcome, failed), group in grouped.items():
        stages = ", ".join(dict.fromkeys(f"{row.stage} ×{row.tries}" if row.tries > 1 else row.stage for row in group))
        shown = "**failed:** " + "; ".join(p for row in group for p in row.problems)[:300] if failed else outcome
        lines.append(f"| {fault} | {stages} | {sum(row.tries for row in group)} | {shown} |".replace("\n", " "))
    return "\n".join([*lines, "", f"`{command}`, {seconds / 60:.0f} minutes on {describe_machine()}."])


def main() -> None:
    """Run the cases and show the table; exit status 1 when anything was lost, mixed or silent."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(CASES), help="cases, comma separated: " + ",".join(CASES))
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--rows", type=Path, help="also keep the rows in this JSONL file; its earlier rows count")
    parser.add_argument("--write", action="store_true", help="write the table into docs/reliability.md")
    chosen = parser.parse_args()
    started, root = time.monotonic(), Path(tempfile.mkdtemp(prefix="raglift-faults."))
    rows = []
    if chosen.rows and chosen.rows.exists():
        rows = [Row(**json.loads(line)) for line in chosen.rows.read_text(encoding="utf-8").splitlines()]
    try:
        lab, calm, ended = make_lab(root)
        print(f"an undisturbed run: {ended.stages}", flush=True)
        for row in list_rows(lab, calm, ended, chosen.only.split(","), chosen.kills):
            rows.append(row)
            print(f"{time.monotonic() - started:6.0f} s  {row.fault} · {row.stage}: {row.problems or 'ok'}", flush=True)
            if chosen.rows:
                with chosen.rows.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(asdict(row), ensure_ascii=False) + "\n")
    finally:
        shutil.rmtree(root, ignore_errors=True)
    table = write_table(rows, time.monotonic() - started, "make faults")
    print(table)
    if chosen.write:
        update_page(table, BEGIN, END)
    sys.exit(any(row.problems for row in rows))


if __name__ == "__main__":
    main()
