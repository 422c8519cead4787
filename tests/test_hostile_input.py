"""Whatever stands in a file or a request: own errors only, no hang, nothing outside its folder, nothing obeyed."""

from __future__ import annotations

import csv
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from hostile_readers import OUTSIDE, READERS, SEEDS, feed
from raglift import progress
from raglift.answering import write_rows
from raglift.answers import read_answers
from raglift.cli.options import print_json, show
from raglift.config import load_config, parse_yaml
from raglift.errors import InputError, RunError
from raglift.experiment import compare_arms, grade_answers, open_run, report_run, run_experiment
from raglift.grading.rubric import grade_rubric
from raglift.records import Rubric
from raglift.runcopy import open_folder
from raglift.runfolder import RunFolder, append_lines, find_broken_lines, hash_content, recover_lines, seal_line
from raglift.sanitization import escape_json

HOSTILE = (
    "\x1b[2J\x1b]0;title\x07",
    "\x9b31m",
    "\u202egnp.exe",
    "nul \x00 bell \x07",
    "lone \ud800 half",
    "[bold red]markup[/bold red]",
    "<script>alert(1)</script>",
    "tag \U000e0041",
)
REPORTS = ("report.md", "report.json", "table.csv", "report.html")
PIECES = (
    b'{"', b'": ', b"[", b"]", b"{", b"}", b'"', b",", b"\n", b"\0", b"\xff", b"\\ud800", b"\\u0000", b"NaN", b"1e999",
    b"9" * 5000, b"-", b"null", b"true", b"id", b"key", b"must", b"rubric", b"model", b"content", b"../../x", b"re: ",
    b"(a+)+$", b"&a", b"*a", b"!!python/object:os.system", b"<<", b"? ", b": ", b"\xe2\x80\xae", b"\x1b[2J", b"=1+1",
)  # fmt: skip


def join(parts: list[bytes]) -> bytes:
    return b"".join(parts)


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(some.data())
def test_readers_raise_only_the_packages_own_errors(name: str, data: some.DataObject) -> None:
    pieces = some.lists(some.one_of(some.sampled_from([*PIECES, *SEEDS[name]]), some.binary(max_size=8)), max_size=12)
    feed(name, data.draw(pieces.map(join)))


@pytest.mark.parametrize("name", READERS)
def test_seeds_are_read_or_refused(name: str) -> None:
    for seed in SEEDS[name]:
        feed(name, seed)
        feed(name, seed * 3)


@pytest.mark.parametrize("name", READERS)
def test_readers_write_nothing_outside(name: str) -> None:
    for seed in SEEDS[name]:
        feed(name, seed + b"../../x")
    assert [path.name for path in OUTSIDE.iterdir()] == ["above"]
    assert [path.name for path in (OUTSIDE / "above").iterdir()] == ["readers"]


def test_aliases_of_yaml_are_refused_before_they_multiply() -> None:
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{name}: &{name} [{','.join(['*' + before] * 9)}]\n"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    with pytest.raises(InputError, match="an alias"):
        parse_yaml(bomb, "bomb.yaml")


def test_code_of_a_model_is_never_run(tmp_path: Path) -> None:
    file = tmp_path / "experiment.yaml"
    file.write_text("name: x\ntrust_remote_code: true\n")
    with pytest.raises(InputError, match="trust_remote_code"):
        load_config(file)
    file.write_text("name: !!python/object/apply:os.system ['touch /tmp/x']\n")
    with pytest.raises(InputError, match="could not determine a constructor"):
        load_config(file)


@pytest.mark.parametrize("name", ["../secret", "link", "{folder}/secret", "\0"])
def test_template_is_no_way_to_files_outside_the_experiment(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("a private key")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/link").symlink_to(tmp_path / "secret")
    file = tmp_path / "mine/experiment.yaml"
    file.write_text(f"name: x\nprompt:\n  file: {json.dumps(name.format(folder=tmp_path))}\n")
    with pytest.raises(InputError, match=r"prompt\.file"):
        load_config(file)


@pytest.mark.parametrize("name", ["lock", "answers.jsonl"])
def test_links_in_a_run_folder_lead_nowhere(tmp_path: Path, name: str) -> None:
    """A run folder may be somebody else's: what its lock and its logs link to is not written over."""
    folder, victim = RunFolder(tmp_path / "run"), tmp_path / "victim"
    victim.write_text("precious")
    folder.path.mkdir()
    (folder.path / name).symlink_to(victim)
    with pytest.raises(RunError, match=name), folder.hold_lock():
        append_lines(folder.answers, [{"key": "a"}])
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31m", os.fsdecode(b"\xff")])
def test_folders_that_no_library_can_name_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="control characters or no UTF-8"):
        open_folder(tmp_path / name)
    assert open_folder(tmp_path / "한글 'a' #1?%20[x]*").path.parent == tmp_path


@pytest.mark.parametrize("value", [{"config": [1]}, {"versions": "x"}, {"source": ["x"]}, {"answer_rows": "many"}])
def test_manifest_of_another_shape_is_as_good_as_torn(tmp_path: Path, value: dict[str, Any]) -> None:
    folder = RunFolder(tmp_path)
    folder.update_manifest(experiment="x")
    folder.manifest_file.write_text(json.dumps({**value, "checksum": hash_content(value)}))
    assert folder.read_manifest() == {"experiment": "x"}, "its copy"


def test_answers_of_another_shape_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_bytes(b'{"key": ["x"]}\n{"key": null}\n' + seal_line({"key": "a"}))
    assert recover_lines(file) == [{"key": "a"}]
    assert find_broken_lines(file) == [1, 2]
    with pytest.raises(RunError, match="a row is no answer"):
        read_answers(RunFolder(tmp_path), ["a"])


@pytest.mark.parametrize("pattern", ["re: (a+)+$", "re: (a|a)*b", "re: (.*)*x", "a … " * 30 + "b", "가 나 다 " * 10])
def test_patterns_are_bounded_in_time(pattern: str) -> None:
    started = time.process_time()
    grade_rubric(Rubric(((pattern,),)), "a" * 20_000 + "가 나 다 " * 200)
    assert time.process_time() - started < 20, "processor time, whatever else the machine does"


@pytest.mark.parametrize("text", HOSTILE)
def test_terminal_obeys_no_text(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    show(f"experiment {text}")
    progress.say(f"error: {text}")
    print_json({"text": text})
    out, error = capsys.readouterr()
    for character in "\x1b\x9b\x07\x00\u202e\ud800\U000e0041":
        assert character not in out + error
    assert json.loads(out.splitlines()[-1]) == {"text": text}, "the JSON value is the same"
    if "[bold" in text:
        assert text in error and text in out


@given(some.text())
@settings(max_examples=200)
def test_escaped_json_is_the_same_value(text: str) -> None:
    value: Any = {"a": [text]}
    assert json.loads(escape_json(json.dumps(value, ensure_ascii=False))) == value


def test_hostile_texts_go_through_a_whole_run(
    tiny_experiment: Path, tmp_path: Path, edit_rows: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Passages, questions and answers with all of it, one passage of 1 MB: nothing obeyed in terminal or reports."""
    evil = "".join(text.replace("\x00", "").replace("\ud800", "") for text in HOSTILE)
    edit_rows(tiny_experiment / "passages.jsonl", lambda rows: rows[0].update(text=f"{evil} <eos> 재현율"))
    edit_rows(tiny_experiment / "passages.jsonl", lambda rows: rows[5].update(text="가" * 350_000))
    edit_rows(tiny_experiment / "questions.jsonl", lambda rows: rows[0].update(question=f"=1+1 {evil} 이 뭐야?"))
    arms, folder = "base.none,base.oracle", tmp_path / "run"
    settings = ["compare.a=base.none", "compare.b=base.oracle", "retrieval.search=lexical"]
    run = open_run(str(tiny_experiment), folder, settings, arms=arms)
    run_experiment(run)
    rows = recover_lines(run.folder.answers)
    write_rows(
        run.folder, [{**one, "text": f"=1+1 {''.join(HOSTILE)}"} if one["arm"] == "base.none" else one for one in rows]
    )
    for stage in (grade_answers, compare_arms, report_run):
        stage(run)
    assert not any("<eos>" in one["prompt"] for one in rows) and any("< eos>" in one["prompt"] for one in rows)
    printed = "".join(capsys.readouterr())
    shown = [printed, *(folder.joinpath(name).read_text(encoding="utf-8") for name in REPORTS)]
    for text in shown:
        assert not set("\x1b\x9b\x07\x00\u202e\ud800\U000e0041") & set(text)
    html = shown[-1]
    assert "<script>alert" not in html and "Content-Security-Policy" in html
    cells = [cell for line in csv.reader((folder / "table.csv").read_text().splitlines()) for cell in line]
    assert not any(cell.startswith(("=", "@", "+", "-")) for cell in cells) and any("1+1" in cell for cell in cells)
