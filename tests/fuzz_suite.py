"""All readers in the fuzzer, by hand: `make fuzz`. Writes time and inputs into docs/reliability.md."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path

from hostile_readers import READERS
from reliability_page import describe_machine, update_page

CORPUS = Path(__file__).parent.parent / "build" / "corpus"
BEGIN, END = "<!-- fuzz table: written by make fuzz -->", "<!-- end of the fuzz table -->"
INPUTS = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
COVERED = re.compile(r" cov: (\d+) ")


def fuzz_reader(name: str, seconds: int, log: Path) -> tuple[int, int, int]:
    """Inputs, branches reached and exit status of one reader's fuzzing."""
    command = [
        sys.executable, str(Path(__file__).with_name("fuzz_readers.py")), name, str(CORPUS / name),
        f"-max_total_time={seconds}", "-timeout=1200", "-max_len=4096", "-print_final_stats=1",
        f"-artifact_prefix={log.parent}/{name}-",
    ]  # fmt: skip
    with log.open("wb") as stream:
        ended = subprocess.run(command, stdout=stream, stderr=stream, check=False).returncode
    text = log.read_text(encoding="utf-8", errors="replace")
    inputs, covered = INPUTS.findall(text), COVERED.findall(text)
    return int(inputs[-1]) if inputs else 0, int(covered[-1]) if covered else 0, ended


def main() -> None:
    """Fuzz the readers and show the table; exit status 1 where one has a finding."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(READERS), help="readers, comma separated: " + ",".join(READERS))
    parser.add_argument("--seconds", type=int, default=60, help="for each reader")
    parser.add_argument("--write", action="store_true", help="write the table into docs/reliability.md")
    chosen = parser.parse_args()
    CORPUS.mkdir(parents=True, exist_ok=True)
    rows, findings, total, started = [], [], 0, time.monotonic()
    for name in chosen.only.split(","):
        log = CORPUS.parent / f"fuzz-{name}.log"
        begun = time.monotonic()
        inputs, covered, ended = fuzz_reader(name, chosen.seconds, log)
        took = time.monotonic() - begun
        total += inputs
        findings += [name] if ended else []
        rows.append(f"| {name} | {took:.0f} s | {inputs:,} | {covered} | {f'**finding:** {log}' if ended else 0} |")
        print(rows[-1], flush=True)
    minutes = (time.monotonic() - started) / 60
    table = "\n".join([
        f"{len(rows)} readers, {total:,} inputs in {minutes:.0f} minutes: **{len(findings)} open findings**.", "",
        "| reader | time | inputs | branches reached | open findings |", "|---|---:|---:|---:|---:|", *rows, "",
        f"`make fuzz FUZZ_SECONDS={chosen.seconds}` on {describe_machine()}.",
    ])  # fmt: skip
    print(table)
    if chosen.write:
        update_page(table, BEGIN, END)
    sys.exit(bool(findings))


if __name__ == "__main__":
    main()
