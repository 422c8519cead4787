"""Each mistake of a user gets one clear error, exit status 2, no traceback, and loses nothing."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import raglift
from raglift.cli import main, name_command
from raglift.config import load_config
from raglift.errors import InputError
from raglift.experiment import grade_answers, open_run

Edit = Callable[[Path, Callable[[list[dict[str, Any]]], None]], None]


def expect_error(experiment: Path, tmp_path: Path, *words: str, **options: Any) -> None:
    with pytest.raises(InputError) as caught:
        open_run(str(experiment), tmp_path / "run", options.pop("overrides", ()), **options)
    for word in words:
        assert word in str(caught.value)
    assert not (tmp_path / "run" / "answers.jsonl").exists()


def change_row(key: str, value: Any, row: int = 0) -> Callable[[list[dict[str, Any]]], None]:
    def change(rows: list[dict[str, Any]]) -> None:
        if value is None:
            rows[row].pop(key)
        else:
            rows[row][key] = value

    return change


@pytest.mark.parametrize(
    ("file", "key", "value", "words"),
    [
        ("passages.jsonl", "id", "precision", ("passages.jsonl:2", "again", "line 1")),
        ("passages.jsonl", "text", "  ", ("passages.jsonl:1", "text", "not empty")),
        ("passages.jsonl", "txt", "x", ("unknown key 'txt'", "did you mean 'text'")),
        ("train.jsonl", "passage_id", "recal", ("row 1", "no passage 'recal'", "did you mean 'recall'")),
        ("train.jsonl", "answer", None, ("train.jsonl:1", "answer", "missing")),
        ("train.jsonl", "question", "recall이 뭐야", ("overlap", "q-recall")),
        ("questions.jsonl", "split", "sen", ("questions.jsonl:1", "did you mean 'seen'")),
        ("questions.jsonl", "split", "unseen", ("question 'q-recall'", "is in train.jsonl")),
        ("questions.jsonl", "passage_id", None, ("questions.jsonl:1", "passage_id")),
        ("questions.jsonl", "id", "q-accuracy", ("again", "line 1")),
        ("questions.jsonl", "rubric", {"must": []}, ("questions.jsonl:1", "rubric", "empty")),
        ("questions.jsonl", "rubric", {"must": [[]]}, ("questions.jsonl:1", "rubric")),
        ("questions.jsonl", "rubric", "recall", ("questions.jsonl:1", "rubric", "must")),
        (
            "questions.jsonl",
            "rubric",
            {"must": [["찾아낸"]], "pass": ["맞은 비율"], "fail": []},
            ("q-recall", "rubric", "맞은 비율"),
        ),
        ("questions.jsonl", "rubric", {"must": [["re: ((("]], "pass": [], "fail": []}, ("q-recall", "rubric")),
    ],
)
def test_wrong_rows(
    tiny_experiment: Path, tmp_path: Path, edit_rows: Edit, file: str, key: str, value: Any, words: tuple[str, ...]
) -> None:
    edit_rows(tiny_experiment / file, change_row(key, value))
    expect_error(tiny_experiment, tmp_path, *words)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{broken", "not JSON"),
        ("[1, 2]", "one JSON object a line"),
        ('{"id": 5, "text": "x"}', "id"),
        ("[" * 9000, "not JSON"),
    ],
)
def test_malformed_lines_name_file_and_line(tiny_experiment: Path, tmp_path: Path, line: str, words: str) -> None:
    file = tiny_experiment / "passages.jsonl"
    file.write_text(file.read_text() + line + "\n")
    expect_error(tiny_experiment, tmp_path, "passages.jsonl:7", words)


def test_missing_and_empty_files(tiny_experiment: Path, tmp_path: Path) -> None:
    (tiny_experiment / "train.jsonl").write_text("")
    expect_error(tiny_experiment, tmp_path, "train.jsonl", "no rows")
    (tiny_experiment / "train.jsonl").unlink()
    expect_error(tiny_experiment, tmp_path, "train.jsonl", "no such file")
    expect_error(tmp_path / "nowhere", tmp_path, "no such folder", "ml-qa-ko")


def test_file_that_is_not_utf8(tiny_experiment: Path, tmp_path: Path) -> None:
    (tiny_experiment / "passages.jsonl").write_bytes("{'재현율'}".encode("cp949"))
    expect_error(tiny_experiment, tmp_path, "passages.jsonl", "UTF-8")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.epoch=5", ("train.epoch", "unknown key", "did you mean 'epochs'")),
        ("train.epochs=many", ("train.epochs", "'many'")),
        ("train.epochs=0", ("train.epochs", "greater than or equal to 1")),
        ("epochs", ("--set epochs", "key=value")),
        ("model.name=x", ("--set model.name=x",)),
        ("arms=sft.nothing", ("no such arm", "did you mean 'sft.none'")),
        ("arms=[sft.none]", ("rag-sft.oracle", "not among the arms")),
        ("compare.split=absent2", ("compare.split",)),
        ("name=../up", ("name",)),
    ],
)
def test_wrong_settings(tiny_experiment: Path, tmp_path: Path, override: str, words: tuple[str, ...]) -> None:
    expect_error(tiny_experiment, tmp_path, *words, overrides=[override])


def test_no_questions_in_the_headline_split(tiny_experiment: Path, tmp_path: Path, edit_rows: Edit) -> None:
    def keep_seen(rows: list[dict[str, Any]]) -> None:
        rows[:] = [row for row in rows if row["split"] == "seen"]

    edit_rows(tiny_experiment / "questions.jsonl", keep_seen)
    expect_error(tiny_experiment, tmp_path, "compare.split", "no questions", overrides=["compare.split=unseen"])


def test_no_counterfactuals_for_their_arm(tiny_experiment: Path, tmp_path: Path, edit_rows: Edit) -> None:
    def drop(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            row.pop("counterfactual", None)

    edit_rows(tiny_experiment / "questions.jsonl", drop)
    expect_error(tiny_experiment, tmp_path, "counterfactual", arms="sft.none,rag-sft.oracle,sft.counterfactual")


def test_yaml_errors_name_the_line(tmp_path: Path) -> None:
    file = tmp_path / "experiment.yaml"
    file.write_text("name: x\nmodel: [unclosed\n")
    with pytest.raises(InputError, match=r"experiment.yaml:\d"):
        load_config(file)
    file.write_text("- a\n- b\n")
    with pytest.raises(InputError, match="a list"):
        load_config(file)


def run_main(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["raglift", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


def test_model_that_cannot_be_loaded_says_what_was_tried(
    tiny_experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for model, tried in (("nobody/nothing-1b", "hub"), (str(tmp_path / "no-model"), "path")):
        arguments = ["run", str(tiny_experiment), "--run", str(tmp_path / "run"), "--set", f"model={model}"]
        assert run_main(arguments, monkeypatch) == 2
        error = capfd.readouterr().err
        assert tried in error and "gemma3-270m" in error and "Traceback" not in error


def test_run_folder_that_cannot_be_written(
    tiny_experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert run_main(["run", str(tiny_experiment), "--run", str(tmp_path / "file" / "run")], monkeypatch) == 1
    error = capfd.readouterr().err
    assert "cannot be written" in error and "to do" in error and "Traceback" not in error


def test_full_disk_keeps_what_is_finished(
    tiny_experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    from raglift import runfolder
    from raglift.errors import RunError

    run = open_run(str(tiny_experiment), tmp_path / "run")
    before = run.folder.manifest_file.read_bytes()

    def fill_up(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(runfolder.os, "fsync", fill_up)
    with pytest.raises(RunError, match="free some space"):
        run.folder.update_manifest(more=1)
    assert run.folder.manifest_file.read_bytes() == before
    assert {file.name for file in run.folder.path.iterdir()} == {"manifest.json", ".manifest.copy.json"}


def test_interrupt_ends_with_what_to_type_next(tiny_experiment: Path, tmp_path: Path) -> None:
    import time

    process = subprocess.Popen(
        [sys.executable, "-m", "raglift", "run", str(tiny_experiment), "--run", str(tmp_path / "run"),
         "--set", "train.epochs=2000"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not list(tmp_path.glob("run/checkpoints/*/training.sft-seed0.jsonl")) and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "give the same command again" in error and "Traceback" not in error
    assert not (tmp_path / "run" / "lock").exists()


def test_the_command_to_give_again_can_be_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["run", "my experiment", "--set", "prompt.answer_mark='$(touch x)'"]
    for program, named in (
        ("/usr/bin/raglift", ["raglift"]),
        ("/lib/raglift/__main__.py", ["python", "-m", "raglift"]),
    ):
        monkeypatch.setattr(sys, "argv", [program, *words])
        assert shlex.split(name_command()) == [*named, *words]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_command_begins(tmp_path: Path, number: signal.Signals) -> None:
    """Before the command line is there: its import waits here for the signal."""
    (tmp_path / "typer.py").write_text("import sys, time\nprint('importing', flush=True)\ntime.sleep(60)\n")
    path = os.pathsep.join([str(tmp_path), str(Path(raglift.__file__).parents[1])])
    process = subprocess.Popen(
        [sys.executable, "-m", "raglift", "--help"], env={**os.environ, "PYTHONPATH": path}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (130, "stopped before anything was begun\n")


def test_table_mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    header = "question,a_correct,a_total,b_correct,b_total\n"
    cases = {
        "question,a_correct\nx,1\n": "no column 'a_total'",
        header + "x,5,4,4,4\n": "0 <= correct <= total",
        header + "x,nan,4,4,4\n": "a whole number",
        header + ",1,4,4,4\n": "blank",
        header + "x,1,4,4,4\nx,1,4,4,4\n": "again",
        header: "no rows",
        "": "empty",
        header + "x,-1,4,4,4\n": "0 <= correct <= total",
        header + "x,2.5,4,4,4\n": "a whole number",
        header + "x,1,1_0,4,4\n": "a whole number",
        header + f"x,1,{10**30},4,4\n": "a whole number",
        header + "x,1,4\n": "nothing",
        header + "x,1,4,4,4,9\n": "more cells",
        "question,a_correct,a_correct,a_total,b_correct,b_total\nx,1,2,4,4,4\n": "'a_correct' more than once",
        header + '"x,1,4,4,4\n': "cannot be read",
    }
    for text, words in cases.items():
        (tmp_path / "t.csv").write_text(text)
        assert run_main(["compare", "--table", str(tmp_path / "t.csv"), "--a", "a", "--b", "b"], monkeypatch) == 2
        error = capfd.readouterr().err
        assert words in error and "t.csv" in error and "Traceback" not in error


def test_tables_that_are_no_utf8_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "t.csv"
    table.write_bytes("question,a_correct,a_total,b_correct,b_total\n코사인,1,4,4,4\n".encode("cp949"))
    for arguments, words in (
        (["--table", str(table), "--a", "a", "--b", "b"], "save it as UTF-8"),
        (["--table", str(tmp_path), "--a", "a", "--b", "b"], "a folder"),
        (["--table", str(table), "--a", "a", "--b", "a"], "'a' twice"),
        (["--table", str(table), "--a", "a"], "no --a or no --b"),
        ([str(tmp_path), "--table", str(table), "--a", "a", "--b", "b"], "several of RUN_DIR"),
    ):
        assert run_main(["compare", *arguments], monkeypatch) == 2
        error = capfd.readouterr().err
        assert words in error and "Traceback" not in error


@pytest.mark.parametrize("rows", ["x,1,4,4,4\n", "x,0,0,0,0\n", "x,4,4,4,4\ny,4,4,4,4\n"])
def test_tables_too_small_to_tell_are_not_estimable_and_never_nan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, rows: str
) -> None:
    (tmp_path / "t.csv").write_text("question,a_correct,a_total,b_correct,b_total\n" + rows)
    arguments = ["compare", "--table", str(tmp_path / "t.csv"), "--a", "a", "--b", "b", "--json"]
    assert run_main(arguments, monkeypatch) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["verdict"] == "not estimable"
    assert "NaN" not in json.dumps(result)


def test_a_run_that_people_grade_waits_for_them(tiny_experiment: Path, tmp_path: Path) -> None:
    run = open_run(str(tiny_experiment), tmp_path / "run", ["grader=human"])
    with pytest.raises(InputError, match="raglift review"):
        grade_answers(run)
