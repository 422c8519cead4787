"""`compare --grades`: answers made anywhere, graded by `grade --answers`, compared question by question."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conftest import QUESTIONS, write_rows
from raglift import cli
from raglift.comparison_files import compare_grades, read_verdicts
from raglift.errors import InputError


def run_command(*arguments: str) -> None:
    cli.app(list(arguments), standalone_mode=False)


def write_grades(file: Path, verdicts: dict[str, list[str]]) -> Path:
    write_rows(file, [{"question_id": name, "verdict": one} for name, row in verdicts.items() for one in row])
    return file


def test_from_answers_to_a_verdict(tmp_path: Path, tiny_experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, good in (("without", 1), ("with", 5)):
        rows: list[dict[str, Any]] = [
            {"question_id": row[0], "answer": row[4] if number < good else "잘 모르겠어"}
            for number, row in enumerate(QUESTIONS)
            for _ in range(2)
        ]
        write_rows(tmp_path / f"{name}.answers.jsonl", rows)
        graded = str(tmp_path / f"{name}.jsonl")
        run_command("grade", "--answers", str(tmp_path / f"{name}.answers.jsonl"), "--questions", str(tiny_experiment),
                    "--out", graded, "--json")  # fmt: skip
    capsys.readouterr()
    run_command("compare", "--grades", str(tmp_path / "without.jsonl"), str(tmp_path / "with.jsonl"), "--json")
    found = json.loads(capsys.readouterr().out)
    assert (found["a"]["arm"], found["b"]["arm"]) == ("without", "with")
    assert (found["a"]["correct"], found["b"]["correct"], found["b"]["total"]) == (2, 10, 12)
    assert found["lift"] == pytest.approx(100 * 4 / 6)
    assert {"ci95", "p_value", "test", "verdict", "minimum_detectable_lift"} < set(found)


def test_unscored_answers_are_left_out_and_counted(tmp_path: Path) -> None:
    a = write_grades(tmp_path / "a.jsonl", {f"q{n}": ["correct", "unscored"] for n in range(6)})
    b = write_grades(tmp_path / "b.jsonl", {f"q{n}": ["incorrect", "incorrect"] for n in reversed(range(6))})
    found = compare_grades(a, b)
    assert (found["a"]["total"], found["b"]["total"], found["unscored"]) == (6, 12, 6)
    assert found["lift"] == -100


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    a = write_grades(tmp_path / "a.jsonl", {"q1": ["correct"], "q2": ["correct"]})
    b = write_grades(tmp_path / "b.jsonl", {"q1": ["correct"]})
    with pytest.raises(InputError, match=r"b\.jsonl: .*q2"):
        compare_grades(a, b)
    for row in ({"question_id": "q1", "verdict": "right"}, {"verdict": "correct"}, {"question_id": "q", "verdict": []}):
        write_rows(tmp_path / "bad.jsonl", [row])
        with pytest.raises(InputError, match=r"bad\.jsonl:1"):
            read_verdicts(tmp_path / "bad.jsonl")
    (tmp_path / "empty.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="no grades"):
        read_verdicts(tmp_path / "empty.jsonl")
    with pytest.raises(InputError, match="one of them"):
        run_command("compare", str(tmp_path), "--grades", str(a), str(b))
