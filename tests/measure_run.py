"""What docs/scale.md calculates from, read and measured on a finished run (of its copy): run by hand.

python tests/measure_run.py runs/ml-qa-ko
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from raglift.experiment import Run, reopen_run
from raglift.grading.rubric import RubricGrader
from raglift.runfolder import recover_lines


def weigh(make: Callable[[], Any]) -> tuple[Any, int]:
    """What a function makes, and the bytes of Python objects that it keeps."""
    make()  # what is loaded once is no part of it
    tracemalloc.start()
    made = make()
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return made, size


def measure_grading(run: Run, rows: list[dict[str, Any]]) -> float:
    """Seconds of processor time."""
    grader = RubricGrader(run.experiment.passages)
    questions = {question.id: question for question in run.experiment.questions}
    started = time.process_time()
    for row in rows:
        grader.grade(questions[row["question_id"]], row["text"])
    return time.process_time() - started


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "run"
        shutil.copytree(sys.argv[1], folder, ignore=shutil.ignore_patterns("lock"))
        run = reopen_run(folder)
        rows, size = weigh(lambda: recover_lines(run.folder.answers))
        _, planned = weigh(run.plan)
        times, count = run.folder.read_manifest()["times"], len(rows)
        trained = len(run.experiment.examples) * run.config.train.epochs * len(list(folder.glob("adapters/*")))
        tokens = sum(row["tokens"] for row in rows)
        answered = f"{count} answers, {tokens} tokens in {times['answer']} s"
        print(f"answering      {answered}: {count / times['answer']:.2f} a second")
        print(f"training       {trained} rows in {times['train']} s: {times['train'] / trained:.2f} s a row")
        print(f"grading        {1000 * measure_grading(run, rows) / count:.2f} ms of processor time an answer")
        print(f"answers.jsonl  {run.folder.answers.stat().st_size / count:.0f} bytes a row")
        print(f"in memory      {size / count:.0f} bytes a row read, {planned / count:.0f} bytes an answer planned")


if __name__ == "__main__":
    main()
