"""How the stages' time and memory grow with rows and questions, on a tiny random model: run by hand, prints a table.

    python tests/measure_growth.py 30 300 3000

Every stage is the product's own, in a process of its own for each size; the model is so small that what is
measured is the stages themselves.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from conftest import build_tiny_model, write_rows

STAGES = ("index", "train", "answer", "grade", "compare", "report")


def write_experiment(folder: Path, model: Path, size: int) -> None:
    """`size` passages, training rows and questions, half of them seen, half unseen."""
    folder.mkdir()
    (folder / "experiment.yaml").write_text(
        f"name: growth\nmodel: {model}\narms: sft.none,rag-sft.oracle,rag-sft.retrieved\n"
        "train:\n  epochs: 1\nlora:\n  rank: 4\nanswer:\n  max_new_tokens: 12\n",
        encoding="utf-8",
    )
    numbers = range(2 * size)
    write_rows(
        folder / "passages.jsonl",
        [{"id": f"p{n}", "text": f"Term{n} (용어{n}) : 값은 {n} 이다 | 표에서 {n} 번째 줄"} for n in numbers],
    )
    write_rows(
        folder / "train.jsonl",
        [{"question": f"용어{n} 값 좀", "answer": f"값은 {n} 이야!", "passage_id": f"p{n}"} for n in range(size)],
    )
    questions = []
    for n in range(size // 2, size // 2 + size):
        rubric = {"must": [[f"{n}"]], "must_not": [], "pass": [f"{n} 이야!"], "fail": ["잘 모르는 이야기야!"]}
        questions.append(
            {"id": f"q{n}", "question": f"Term{n} 의 값이 뭐야?", "passage_id": f"p{n}",
             "split": "seen" if n < size else "unseen", "reference": f"{n} 이야!", "rubric": rubric}
        )  # fmt: skip
    write_rows(folder / "questions.jsonl", questions)


def main(sizes: list[int]) -> None:
    print("| rows and questions | " + " | ".join(f"{stage} s" for stage in STAGES) + " | peak GiB |")
    print("|---:|" + "---:|" * (len(STAGES) + 1))
    with tempfile.TemporaryDirectory() as scratch:
        model = build_tiny_model(Path(scratch) / "model")
        for size in sizes:
            experiment, run = Path(scratch) / f"growth-{size}", Path(scratch) / f"run-{size}"
            write_experiment(experiment, model, size)
            command = [sys.executable, "-m", "raglift", "run", str(experiment), "--run", str(run), "--json"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
            times = " | ".join(f"{manifest['times'][stage]:.1f}" for stage in STAGES)
            print(f"| {size} | {times} | {manifest['peak_memory_gib']} |", flush=True)


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [30, 300, 3000])
