"""`raglift review`: the log, the page's server, tables, samples, and a whole session in headless Chromium."""

from __future__ import annotations

import csv
import http.client
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from raglift.cli import app
from raglift.comparison import compare_run
from raglift.errors import InputError, RunError
from raglift.grading.grades import read_grades
from raglift.grading.review import ReviewChoice, describe_end, open_review
from raglift.grading.review_items import read_reviewable
from raglift.grading.review_log import ReviewLog, build_rows
from raglift.grading.review_sample import draw_sample, read_sample
from raglift.grading.review_server import LARGEST_BODY, ReviewServer
from raglift.grading.review_state import LONGEST_NOTE, Review
from raglift.grading.review_table import export_table, import_table
from raglift.records import Answer
from raglift.report.content import _read_grades
from raglift.runfolder import RunFolder, recover_lines, write_json
from raglift.storedrun import StoredRun
from report_fixture import HOSTILE
from review_fixture import ARMS, QUESTIONS, SAMPLES, write_lines, write_review_run

ITEMS = 45  # 64 answers, of which sample 1 says what sample 0 says, and both arms' do for every third question


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> StoredRun:
    return StoredRun(*write_review_run(tmp_path_factory.mktemp("template") / "run"))


@pytest.fixture
def run(template: StoredRun, tmp_path: Path) -> StoredRun:
    shutil.copytree(template.folder.path, tmp_path / "run")
    return StoredRun(RunFolder(tmp_path / "run"), template.experiment, template.config)


def open_as(run: StoredRun, reviewer: str = "kim", **choice: Any) -> Review:
    return open_review(run, ReviewChoice(reviewer, **choice))


def read_rows(run: StoredRun) -> list[dict[str, Any]]:
    return recover_lines(run.folder.grades("human"))


def grade_all(review: Review, verdict: Any = "correct") -> None:
    review.write_table((item, verdict, "") for item in review.items)


# --- items


def test_identical_answers_are_one_item_and_every_key_gets_the_verdict(run: StoredRun) -> None:
    review = open_as(run)
    answers = read_reviewable(run.folder, run.experiment)
    assert len(answers) == len(ARMS) * QUESTIONS * SAMPLES and len(review.items) == ITEMS
    assert sorted(key for item in review.items.values() for key in item.keys) == sorted(a.key for a in answers)
    shared = max(review.items.values(), key=lambda item: len(item.keys))
    assert len(shared.keys) == 4
    review.grade(shared.id, "correct", " 좋아\x07 ")
    rows = read_rows(run)
    assert {row["key"] for row in rows} == set(shared.keys)
    for row in rows:
        assert (row["verdict"], row["reason"], row["grader"], row["author"]) == ("correct", "좋아␇", "human:kim", "kim")
        assert row["evidence"] == [] and row["question_id"] == shared.question.id
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", row["time"])


def test_order_is_blind_stable_and_another_for_each_reviewer(run: StoredRun) -> None:
    first, again, other = (list(open_as(run, name).items) for name in ("kim", "kim", "lee"))
    assert first == again and first != other and sorted(first) == sorted(other)
    items = list(open_as(run).items.values())
    questions = [item.question.id for item in items]
    changes = sum(a != b for a, b in itertools.pairwise(questions))
    assert changes == QUESTIONS - 1, "the answers to a question stand together"
    assert questions != sorted(questions)
    arm_of = {answer.key: answer.arm for answer in read_reviewable(run.folder, run.experiment)}
    firsts = {item.question.id: arm_of[item.keys[0]] for item in reversed(items)}
    assert len(set(firsts.values())) == 2, "neither arm always comes first"


def test_stale_answers_and_altered_passages_are_left_out(run: StoredRun) -> None:
    rows = recover_lines(run.folder.answers)
    stale = {**rows[0], "key": "0" * 32, "text": "옛 답변"}
    altered = {**rows[0], "key": "1" * 32, "arm": "rag-sft.counterfactual", "text": "바뀐 답변"}
    write_lines(run.folder.answers, [stale, altered, *rows])
    texts = {item.text for item in open_as(run, scope="all").items.values()}
    assert "옛 답변" not in texts and "바뀐 답변" not in texts and len(texts) <= ITEMS


def test_scope_is_what_is_compared_unless_all_is_asked(run: StoredRun) -> None:
    rows = recover_lines(run.folder.answers)
    extra = {**rows[0], "key": "2" * 32, "arm": "base.none", "text": "다른 팔"}
    write_lines(run.folder.answers, [*rows, extra])
    assert len(open_as(run).items) == ITEMS and len(open_as(run, scope="all").items) == ITEMS + 1


def test_a_run_without_answers_says_what_to_do(run: StoredRun) -> None:
    run.folder.answers.unlink()
    with pytest.raises(InputError, match="no answers to grade"):
        open_as(run)


@pytest.mark.parametrize("name", [" ", "x" * 61, "a\nb", "\u202ekim", "a\x00"])
def test_odd_reviewer_names_are_refused(run: StoredRun, name: str) -> None:
    with pytest.raises(InputError, match="--reviewer"):
        open_as(run, name)


# --- the log


def test_corrections_and_undo_are_new_rows(run: StoredRun) -> None:
    review = open_as(run)
    first, second, *_ = review.items
    review.grade(first, "correct", "a")
    review.grade(first, "incorrect", "b")
    review.skip(second, "later")
    before = len(read_rows(run))
    assert review.undo() == second and review.state(second).skipped == 0
    assert review.undo() == first and review.state(first).verdict == "correct" and review.state(first).note == "a"
    assert open_as(run).undo() == first, "what can be undone outlives the process"
    review.refresh()
    assert not review.state(first).decided and review.undo() is None
    rows = read_rows(run)
    assert len(rows) > before and rows[0]["verdict"] == "correct"
    assert read_grades(run.folder.grades("human"))[review.items[first].keys[0]].verdict == "unscored"


def test_saving_twice_writes_once(run: StoredRun) -> None:
    review = open_as(run)
    item = next(iter(review.items))
    review.grade(item, "correct", "")
    size = run.folder.grades("human").stat().st_size
    review.grade(item, "correct", " ")
    review.note(item, "")
    assert run.folder.grades("human").stat().st_size == size


def test_a_torn_line_costs_only_itself(run: StoredRun) -> None:
    review = open_as(run)
    first, second, third, *_ = review.items
    review.grade(first, "correct", "")
    review.grade(second, "incorrect", "")
    file = run.folder.grades("human")
    file.write_bytes(file.read_bytes()[:-20])
    again = open_as(run)
    assert again.state(first).verdict == "correct" and not again.state(second).decided
    again.grade(third, "correct", "")
    last = open_as(run)
    assert last.state(third).verdict == "correct" and last.state(first).verdict == "correct"


def test_the_loss_of_the_last_verdicts_is_said(run: StoredRun, capsys: pytest.CaptureFixture[str]) -> None:
    review = open_as(run)
    first, second, third, *_ = review.items
    for item in (first, second):
        review.grade(item, "correct", "")
    file, folder = run.folder.grades("human"), run.folder
    whole, lines = file.read_bytes(), file.read_bytes().splitlines(keepends=True)
    assert folder.list_damage() == []
    for left, words in (
        (b"".join(lines[:-1]), f"1 of {len(lines)} lines are lost"),
        (whole[:-20], f"1 of {len(lines)} lines are lost"),
        (whole + b'{"key": ', "its last line is torn"),
        (b"", f"{len(lines)} of {len(lines)} lines are lost"),
    ):
        file.write_bytes(left)
        assert [words in damage.reason for damage in folder.list_damage()] == [True]
        folder.refuse_damage("compare")
        assert words in capsys.readouterr().err
    file.unlink()
    assert [damage.file for damage in folder.list_damage()] == [file.name]
    open_as(run).grade(third, "correct", "")
    assert "are lost from its end" in capsys.readouterr().err and folder.list_damage() == []


def test_half_of_a_save_leaves_an_item_open_until_it_is_carried_over(run: StoredRun) -> None:
    review = open_as(run)
    item = max(review.items.values(), key=lambda item: len(item.keys))
    log = ReviewLog(run.folder.grades("human"))
    log.append(build_rows(item.keys[:1], item.question.id, "kim", "grade", "correct", "n"))
    again = open_as(run)
    assert not again.state(item.id).decided
    again.carry_over()
    assert again.state(item.id).verdict == "correct" and len(read_rows(run)) == len(item.keys)
    again.carry_over()
    assert len(read_rows(run)) == len(item.keys)


def test_a_full_disk_keeps_the_file_whole_and_says_so(run: StoredRun, monkeypatch: pytest.MonkeyPatch) -> None:
    review = open_as(run)
    first, second, *_ = review.items
    review.grade(first, "correct", "")
    kept = run.folder.grades("human").read_bytes()
    write, calls = os.write, []

    def write_half(descriptor: int, data: bytes) -> int:
        calls.append(data)
        if len(calls) == 1:
            return write(descriptor, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("raglift.grading.review_log.os.write", write_half)
    with pytest.raises(RunError, match="free some space"):
        review.grade(second, "correct", "")
    monkeypatch.undo()
    assert run.folder.grades("human").read_bytes() == kept
    assert not review.state(second).decided


def test_many_writers_lose_nothing(run: StoredRun) -> None:
    reviews = [open_as(run, name) for name in ("kim", "kim", "lee", "park")]

    def work(review: Review, start: int) -> None:
        for item in list(review.items)[start:20:2]:
            review.grade(item, "correct", "")

    threads = [threading.Thread(target=work, args=(review, place % 2)) for place, review in enumerate(reviews)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert b"\n\n" not in run.folder.grades("human").read_bytes()
    assert open_as(run, "kim").measure_progress().done == 20
    assert open_as(run, "lee").measure_progress().done == open_as(run, "park").measure_progress().done == 10


def test_time_left_is_the_median_pace(run: StoredRun) -> None:
    review = open_as(run)
    log, items = ReviewLog(run.folder.grades("human")), list(review.items.values())
    for place, item in enumerate(items[:6]):
        rows = build_rows(item.keys, item.question.id, "kim", "grade", "correct", "")
        minute, second = divmod(10 * place, 60)
        hour = 1 if place == 5 else 0  # a break before the last one
        log.append([{**row, "time": f"2026-01-01T0{hour}:{minute:02d}:{second:02d}+00:00"} for row in rows])
    review.refresh()
    assert review.measure_progress().seconds_left == pytest.approx(10 * (ITEMS - 6))


# --- several reviewers, compare and report


def test_reviewers_keep_their_verdicts_and_the_majority_counts(run: StoredRun) -> None:
    reviews = {name: open_as(run, name) for name in ("kim", "lee", "park")}
    first, second, third, fourth, *_ = reviews["kim"].items
    said = {
        first: ("correct", "correct", "incorrect"),
        second: ("correct", "incorrect", None),
        third: ("incorrect", None, None),
        fourth: ("correct", "correct", None),
    }
    for item, verdicts in said.items():
        for name, verdict in zip(reviews, verdicts, strict=True):
            if verdict:
                reviews[name].grade(item, verdict, f"by {name}")
    grades = read_grades(run.folder.grades("human"))
    found = {item: grades[reviews["kim"].items[item].keys[0]] for item in said}
    assert [grade.verdict for grade in found.values()] == ["correct", "unscored", "incorrect", "correct"]
    assert found[second].reason.startswith("reviewers differ (kim: correct, lee: incorrect)")
    assert found[first].grader == "human" and found[third].grader == "human:kim"
    assert found[third].reason == "by kim" and found[fourth].reason == "kim: by kim; lee: by lee"
    lines = describe_end(run.folder, reviews["kim"], ["raglift", "review", "my run"])
    differing = len(reviews["kim"].items[first].keys) + len(reviews["kim"].items[second].keys)
    assert f"they differ on {differing} " in lines and "to go on: raglift review 'my run'" in lines
    reviews["lee"].skip(second, "")
    assert read_grades(run.folder.grades("human"))[reviews["kim"].items[second].keys[0]].verdict == "correct"
    shown = _read_grades(run.folder, "human")
    assert shown[reviews["kim"].items[first].keys[0]]["verdict"] == "correct"


def test_human_grades_are_compared(run: StoredRun) -> None:
    review = open_as(run)
    arm_of = {answer.key: answer.arm for answer in read_reviewable(run.folder, run.experiment)}
    for item in review.items.values():
        review.grade(item.id, "correct" if arm_of[item.keys[0]] == ARMS[1] else "incorrect", "")
    asked = run.experiment.questions[:QUESTIONS]
    experiment = type(run.experiment)("ml-qa-ko", "", run.experiment.passages, run.experiment.examples, asked)
    config = run.config.model_copy(update={"grader": "human"})
    answers: list[Answer] = read_reviewable(run.folder, run.experiment)
    found = compare_run(experiment, config, answers, read_grades(run.folder.grades("human")))
    assert found["grader"] == "human" and found["unscored"] == 0 and found["lift"] > 0
    assert found["a"]["total"] == found["b"]["total"] == QUESTIONS * SAMPLES


# --- samples


def test_a_sample_is_drawn_once_by_arm_and_verdict(run: StoredRun) -> None:
    review = open_as(run, scope="sample", labels=20)
    sample = read_sample(run.folder)
    assert sample is not None and sample.grader == "rubric" and sample.answers == 64
    assert 20 <= len(sample.keys) <= 24
    assert {key for item in review.items.values() for key in item.keys} == set(sample.keys)
    arm_of = {answer.key: answer.arm for answer in read_reviewable(run.folder, run.experiment)}
    counts = [sum(arm_of[key] == arm for key in sample.keys) for arm in ARMS]
    assert abs(counts[0] - counts[1]) <= 2
    grades = recover_lines(run.folder.grades("rubric"))
    write_lines(run.folder.grades("rubric"), [{**row, "verdict": "incorrect"} for row in grades])
    assert list(open_as(run, scope="sample").items) == list(review.items), "graded anew, it stays the sample it was"
    grade_all(review)
    assert {row["key"] for row in read_rows(run)} == set(sample.keys)


def test_a_sample_tells_how_many_are_needed(run: StoredRun) -> None:
    with pytest.raises(InputError, match="raglift compare"):
        open_as(run, scope="sample")
    write_json(run.folder.comparison, {"ci95": [7.5, 34.2]})
    answers = read_reviewable(run.folder, run.experiment)
    drawn = draw_sample(run.folder, run.config, answers, None)
    assert len(drawn.keys) in range(36, 52)
    with pytest.raises(InputError, match="1 to 64"):
        draw_sample(run.folder, run.config, answers, 65)
    run.folder.grades("rubric").unlink()
    with pytest.raises(InputError, match="raglift grade"):
        draw_sample(run.folder, run.config, answers, None)


# --- tables


def test_a_table_goes_out_and_back(run: StoredRun, tmp_path: Path) -> None:
    review = open_as(run)
    first, second, third, *_ = review.items
    review.grade(first, "correct", "=1+1")
    review.grade(second, "incorrect", "두 줄\n메모")
    file = tmp_path / "kim.csv"
    assert export_table(review, file) == ITEMS
    assert file.read_bytes().startswith(b"\xef\xbb\xbf")
    rows = read_csv(file)
    assert len(rows) == ITEMS and rows[0]["verdict"] == "correct" and rows[0]["note"] == "'=1+1"
    cells = [cell for row in rows for cell in row.values()]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]
    assert any(cell.startswith("'=cmd|") for cell in cells) and "arm" not in rows[0]
    size = run.folder.grades("human").stat().st_size
    assert import_table(review, file) == 0 and run.folder.grades("human").stat().st_size == size
    rows[1]["verdict"], rows[2]["verdict"], rows[0]["verdict"], rows[2]["note"] = "맞음", "Incorrect", "", "'+새 메모"
    write_csv(file, rows)
    assert import_table(review, file) == 2
    assert [review.state(item).verdict for item in (first, second, third)] == ["correct", "correct", "incorrect"]
    assert review.state(second).note == "두 줄\n메모" and review.state(third).note == "+새 메모"
    assert {row["action"] for row in read_rows(run)} == {"grade", "import"}
    rows[0]["verdict"] = "unscored"
    write_csv(file, rows)
    assert import_table(review, file) == 1 and not review.state(first).decided


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key": "nonsense"}, r"t\.csv:4: key: 'nonsense'"),
        ({"verdict": "right"}, r"t\.csv:4: verdict: 'right'"),
        ({"note": "x" * (LONGEST_NOTE + 1)}, r"t\.csv:4: note"),
    ],
)
def test_a_wrong_table_names_the_line_and_changes_nothing(
    run: StoredRun, tmp_path: Path, change: dict[str, str], message: str
) -> None:
    review, file = open_as(run), tmp_path / "t.csv"
    export_table(review, file)
    rows = read_csv(file)
    rows[0]["verdict"] = "correct"
    rows[2].update(change)
    write_csv(file, rows)
    with pytest.raises(InputError, match=message):
        import_table(review, file)
    assert read_rows(run) == []


def test_other_wrong_tables(run: StoredRun, tmp_path: Path) -> None:
    review, file = open_as(run), tmp_path / "t.csv"
    item = max(review.items.values(), key=lambda item: len(item.keys))
    for content, message in (
        (f"key,verdict,note\n{item.keys[0]},correct,\n{item.keys[1]},incorrect,\n".encode(), r"t\.csv:3.*line 2"),
        (b"key;verdict;note\n", "no column 'key'"),
        (f"key,verdict,note\n{item.keys[0]},correct\n".encode(), r"t\.csv:2"),
        ("key,verdict,note\n,맞음,\n".encode("cp949"), "not UTF-8"),
        (b'key,verdict,note\n"x', "cannot be read"),
    ):
        file.write_bytes(content)
        with pytest.raises(InputError, match=message):
            import_table(review, file)
    with pytest.raises(InputError, match="no such file"):
        import_table(review, tmp_path / "none.csv")
    assert read_rows(run) == []


def read_csv(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


def write_csv(file: Path, rows: list[dict[str, str]]) -> None:
    with file.open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


# --- the server


class Client:
    """Requests as a page makes them; any header can be set otherwise or left out (None)."""

    def __init__(self, server: ReviewServer) -> None:
        self.port, self.base = server.server_port, f"/{server.token}/"

    def ask(self, method: str, path: str, body: Any = None, **headers: str | None) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        sent: dict[str, str | None] = {"Host": f"127.0.0.1:{self.port}"}
        if method == "POST":
            sent |= {"Origin": f"http://127.0.0.1:{self.port}", "Content-Type": "application/json"}
            sent["Content-Length"] = str(len(data or b""))
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in sent.items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders(data)
        reply = connection.getresponse()
        content = reply.read()
        connection.close()
        return reply.status, dict(reply.getheaders()), content

    def get(self, name: str = "", **headers: str | None) -> tuple[int, dict[str, str], bytes]:
        return self.ask("GET", self.base + name, **headers)

    def save(self, body: Any, **headers: str | None) -> tuple[int, dict[str, Any]]:
        status, _, content = self.ask("POST", self.base + "save", body, **headers)
        return status, json.loads(content)


@pytest.fixture
def server(run: StoredRun) -> Iterator[ReviewServer]:
    server = ReviewServer(open_as(run), "en")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.close()


def test_session_is_blind_and_a_save_is_on_disk_before_the_reply(server: ReviewServer, run: StoredRun) -> None:
    client = Client(server)
    status, _, content = client.get("session")
    session = json.loads(content)
    assert status == 200 and len(session["items"]) == ITEMS and len(session["questions"]) == QUESTIONS
    assert set(session["items"][0]) == {"id", "question", "text", "verdict", "note", "skipped"}
    for secret in (*ARMS, '"seed"', "seen-", "rubric"):
        assert secret not in content.decode()
    item = session["items"][0]["id"]
    status, reply = client.save({"action": "grade", "item": item, "verdict": "incorrect", "note": "왜냐하면"})
    assert status == 200 and reply["item"] == {"id": item, "verdict": "incorrect", "note": "왜냐하면", "skipped": 0}
    assert reply["progress"]["done"] == 1
    assert read_rows(run)[0]["reason"] == "왜냐하면"
    assert client.save({"action": "skip", "item": item, "note": ""})[1]["item"]["skipped"] > 0
    assert client.save({"action": "undo"})[1]["item"]["verdict"] == "incorrect"
    assert client.save({"action": "undo"})[1]["item"]["verdict"] == ""
    assert client.save({"action": "undo"}) == (409, {"error": "nothing to undo"})


def test_every_reply_has_the_policy(server: ReviewServer) -> None:
    client = Client(server)
    for name in ("", "review.css", "review.js", "texts.js", "icon.svg", "session", "nothing"):
        status, headers, content = client.get(name)
        assert status == (404 if name == "nothing" else 200)
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'") and "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["Cache-Control"] == "no-store"
        assert "Python" not in headers["Server"] and content
    assert client.ask("GET", client.base[:-1])[0] == 308


def test_only_this_address_and_this_page_are_answered(server: ReviewServer, run: StoredRun) -> None:
    client = Client(server)
    assert server.server_address[0] == "127.0.0.1"
    save = {"action": "grade", "item": next(iter(server.review.items)), "verdict": "correct", "note": ""}
    assert client.ask("GET", "/")[0] == 404
    assert client.ask("GET", "/wrong-token/session")[0] == 404
    assert client.ask("GET", client.base + "../review.py")[0] == 404
    assert client.ask("GET", client.base + "..%2freview.py")[0] == 404
    assert client.get("session", Host="evil.example")[0] == 421
    assert client.get("session", Host=None)[0] == 421
    assert client.get("session", Host=f"evil.example:{client.port}")[0] == 421
    assert client.get("session", Host=f"localhost:{client.port}")[0] == 200
    for origin in (None, "null", "http://evil.example", f"https://127.0.0.1:{client.port}", "http://127.0.0.1:1"):
        assert client.save(save, Origin=origin)[0] == 403
    assert client.save(save, Content_Type="text/plain")[0] == 415
    assert read_rows(run) == []
    assert client.save(save, Origin=f"http://localhost:{client.port}")[0] == 200


def test_bad_requests_are_refused_cleanly(server: ReviewServer, run: StoredRun) -> None:
    client, item = Client(server), next(iter(server.review.items))
    good = {"action": "grade", "item": item, "verdict": "correct", "note": ""}
    cases: list[tuple[Any, int]] = [
        (b"", 400), (b"{", 400), (b"\xff\xfe", 400), (b"[" * 60_000, 400), ([], 400), ("x", 400), ({}, 400),
        ({**good, "action": "drop"}, 400), ({**good, "more": "x"}, 400), ({**good, "note": None}, 400),
        ({**good, "item": 1}, 400), ({"action": "grade", "item": item}, 400), ({**good, "item": "nothing"}, 404),
        ({**good, "verdict": "unscored"}, 422), ({**good, "note": "x" * (LONGEST_NOTE + 1)}, 422),
        (b" " * (LARGEST_BODY + 1), 413),
    ]  # fmt: skip
    for body, expected in cases:
        status, reply = client.save(body)
        assert (status, bool(reply["error"])) == (expected, True), body
    assert client.save(good, Content_Length=None)[0] == 411
    assert client.save(good, Content_Length="-1")[0] == 411
    assert client.save(good, Content_Length="9" * 5000)[0] == 413
    assert client.save(good, Transfer_Encoding="chunked")[0] == 411
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "BREW"):
        status, headers, content = client.ask(method, client.base + "save")
        assert status == 405 and headers["Allow"] == "GET, POST" and "error" in json.loads(content)
    assert client.ask("POST", client.base + "session", {})[0] == 404
    assert client.ask("GET", "/" + "x" * 70_000)[0] == 414
    assert client.ask("GET", "http://[")[0] == 400
    assert read_rows(run) == []
    note = {**good, "note": "\ud800 \x1b[31m <b>"}
    assert client.save(note)[1]["item"]["note"] == "⟦U+D800⟧ ␛[31m <b>"


def test_a_disk_that_refuses_is_told(server: ReviewServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("raglift.grading.review_log.os.write", refuse)
    save = {"action": "grade", "item": next(iter(server.review.items)), "verdict": "correct", "note": ""}
    status, reply = Client(server).save(save)
    assert status == 507 and "free some space" in reply["error"]


def test_a_port_in_use_is_the_users_error(server: ReviewServer) -> None:
    with pytest.raises(InputError, match="is in use"):
        ReviewServer(server.review, "en", server.server_port)


# --- the command


class Process:
    """`raglift review` as its users start it."""

    def __init__(self, run: StoredRun, *options: str) -> None:
        command = [sys.executable, "-m", "raglift", "review", str(run.folder.path), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert self.process.stdout is not None
        self.said = [self.process.stdout.readline() for _ in range(3)]
        self.address = re.search(r"http://127\.0\.0\.1:(\d+)/([\w-]+)/", "".join(self.said))
        assert self.address, self.said + self.process.stdout.readlines()
        self.server_port, self.token = int(self.address[1]), self.address[2]

    def end(self, number: int) -> tuple[int, str]:
        self.process.send_signal(number)
        said, _ = self.process.communicate(timeout=20)
        return self.process.returncode, said


def test_kill_9_loses_nothing_and_sigint_says_how_to_go_on(run: StoredRun) -> None:
    process = Process(run, "--reviewer", "kim")
    client = Client(process)  # type: ignore[arg-type]
    items = [item["id"] for item in json.loads(client.get("session")[2])["items"]]
    saved: list[str] = []

    def save_until_it_dies() -> None:
        for item in items:
            try:
                status, _ = client.save({"action": "grade", "item": item, "verdict": "correct", "note": "n"})
            except (OSError, http.client.HTTPException, ValueError):
                return
            assert status == 200
            saved.append(item)
            if len(saved) == 7:
                process.process.send_signal(signal.SIGKILL)  # with the next save on its way

    thread = threading.Thread(target=save_until_it_dies)
    thread.start()
    thread.join(timeout=60)
    assert process.end(signal.SIGKILL)[0] == -signal.SIGKILL
    done = [item for item, state in ((item, open_as(run).state(item)) for item in items) if state.verdict == "correct"]
    assert len(saved) >= 7 and done[: len(saved)] == saved and len(done) <= len(saved) + 1
    process = Process(run, "--reviewer", "kim")
    assert f"{len(done)} of {ITEMS} graded" in process.said[0]
    session = json.loads(Client(process).get("session")[2])  # type: ignore[arg-type]
    assert [item["id"] for item in session["items"]] == items
    status, said = process.end(signal.SIGINT)
    assert status == 0 and f"saved: {len(done)} of {ITEMS} graded by kim" in said
    assert f"to go on: raglift review {run.folder.path} --reviewer kim" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--all", "--sample"], "--all and --sample"),
        (["--labels", "3"], "--labels without --sample"),
        (["--language", "fr"], "ko or en"),
    ],
)
def test_wrong_options_are_the_users_errors(run: StoredRun, options: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["review", str(run.folder.path), *options])
    assert isinstance(result.exception, InputError) and message in str(result.exception)


def test_tables_by_command(run: StoredRun, tmp_path: Path) -> None:
    file, command = tmp_path / "lee.csv", ["review", str(run.folder.path), "--reviewer", "lee"]
    assert f"exported: {ITEMS} answers" in CliRunner().invoke(app, [*command, "--export", str(file)]).output
    rows = read_csv(file)
    rows[3]["verdict"] = "틀림"
    write_csv(file, rows)
    assert "imported: 1 changed" in CliRunner().invoke(app, [*command, "--import", str(file)]).output
    assert {(row["author"], row["verdict"]) for row in read_rows(run)} == {("lee", "incorrect")}


# --- the page


def open_page(browser: Any, server: ReviewServer, width: int = 1280, scheme: str = "light") -> Any:
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.problems = []
    page.on("console", lambda message: page.problems.append(message.text))
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.goto(server.address)
    page.wait_for_selector("#work:not([hidden])")
    return page


def press(page: Any, key: str) -> None:
    """One key, and what comes of it: every step that saves or moves announces itself."""
    from playwright.sync_api import expect  # its waiting needs no eval, which the page's policy forbids

    before = page.locator("#status").text_content()
    page.keyboard.press(key)
    expect(page.locator("#status")).not_to_have_text(before)


def wait_for_text(page: Any, name: str, text: str) -> None:
    from playwright.sync_api import expect

    expect(page.locator(name)).to_have_text(text)


def test_a_whole_session_by_keyboard(browser: Any, server: ReviewServer, run: StoredRun) -> None:
    page = open_page(browser, server)
    review = server.review
    items = list(review.items.values())
    assert page.locator("#question").inner_text() == items[0].question.question
    press(page, "1")
    assert page.locator("#count").inner_text() == f"1 of {ITEMS} graded"
    assert page.locator("#status").inner_text().startswith(f"Saved: correct. Answer 2 of {ITEMS}")
    assert page.evaluate("document.activeElement.id") == "item"
    press(page, "2")
    press(page, "3")
    assert review.state(items[1].id).verdict == "incorrect" and review.state(items[2].id).skipped
    press(page, "u")
    assert page.locator("#place").inner_text() == f"Answer 3 of {ITEMS}" and not review.state(items[2].id).skipped
    press(page, "3")
    press(page, "ArrowLeft")
    press(page, "ArrowLeft")
    assert page.locator("#state").inner_text() == "graded incorrect"
    assert page.locator("#incorrect").get_attribute("aria-pressed") == "true"
    page.keyboard.press("n")
    page.keyboard.type("1, 2 and 3 are letters here")
    wait_for_text(page, "#status", "Note saved.")
    assert review.state(items[1].id) == type(review.state(items[1].id))("incorrect", "1, 2 and 3 are letters here")
    page.keyboard.press("Escape")
    press(page, "1")
    assert review.state(items[1].id).verdict == "correct"
    assert page.locator("#place").inner_text() == f"Answer 4 of {ITEMS}"
    for _ in range(ITEMS - 4):
        press(page, "1")
    assert page.locator("#place").inner_text() == f"Answer {ITEMS} of {ITEMS}"
    press(page, "2")
    assert page.locator("#place").inner_text() == f"Answer 3 of {ITEMS}", "the skipped one comes again at the end"
    press(page, "1")
    assert page.locator("#end-title").is_visible() and not page.locator("#correct").is_visible()
    assert review.measure_progress().done == ITEMS
    press(page, "u")
    assert page.locator("#place").inner_text() == f"Answer 3 of {ITEMS}"
    press(page, "1")
    assert page.problems == []
    assert page.evaluate("window.broken") is None, "no answer's script ran"
    grades = read_grades(run.folder.grades("human"))
    assert len(grades) == 64 and sum(grade.verdict == "incorrect" for grade in grades.values()) == len(items[-1].keys)
    page.close()


def test_hostile_answers_are_text(browser: Any, server: ReviewServer) -> None:
    places = {item.text: place for place, item in enumerate(server.review.items.values())}
    page = open_page(browser, server)
    for text in HOSTILE[:2]:
        page.evaluate("place => show(place)", places[text])
        assert page.locator("#text").inner_text() == text
    assert page.locator("#text *").count() == 0 and page.evaluate("window.broken") is None
    assert page.problems == []
    page.close()


def test_mouse_focus_order_and_shortcuts_off(browser: Any, server: ReviewServer) -> None:
    page = open_page(browser, server)
    first, second, *_ = server.review.items
    order = []
    page.locator("#item").focus()
    for _ in range(8):
        page.keyboard.press("Tab")
        order.append(page.evaluate("document.activeElement.id"))
    assert order == ["note", "correct", "incorrect", "skip", "undo", "forward", "open", ""]
    page.locator("#help summary").click()
    page.locator("#shortcuts").uncheck()
    page.keyboard.press("1")
    page.locator("#help summary").click()
    page.locator("#incorrect").click()
    wait_for_text(page, "#count", f"1 of {ITEMS} graded")
    assert server.review.state(first).verdict == "incorrect" and not server.review.state(second).decided
    names = page.locator("button:visible").evaluate_all("all => all.map(one => one.textContent.trim())")
    assert all(names) and page.locator("label[for=note]").inner_text() == "Note (optional)"
    page.close()


def test_a_reload_goes_on_and_a_dead_server_is_told(browser: Any, server: ReviewServer) -> None:
    page = open_page(browser, server)
    press(page, "1")
    press(page, "3")
    page.reload()
    page.wait_for_selector("#work:not([hidden])")
    assert page.locator("#place").inner_text() == f"Answer 3 of {ITEMS}"
    server.review.close()
    page.keyboard.press("1")
    page.wait_for_selector("#alert:not([hidden])")
    assert "Not saved" in page.locator("#alert").inner_text()
    assert page.locator("#place").inner_text() == f"Answer 3 of {ITEMS}"
    page.close()


@pytest.mark.parametrize("language", ["ko", "en"])
def test_nothing_spills_over_and_contrast_holds(browser: Any, run: StoredRun, language: str) -> None:
    server = ReviewServer(open_as(run, "아주 긴 이름의 채점자 reviewer-with-a-long-name"), language)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        page = open_page(browser, server)
        assert page.evaluate("document.documentElement.lang") == language
        assert "undefined" not in page.locator("body").inner_text()
        for width, scheme in itertools.product((360, 800, 1280), ("light", "dark")):
            page.set_viewport_size({"width": width, "height": 800})
            page.emulate_media(color_scheme=scheme)
            assert page.evaluate("document.documentElement.scrollWidth") == width
            ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (ground == "rgb(246, 247, 249)") == (scheme == "light")
            for name in SHOWN:
                assert page.evaluate(CONTRAST, name) >= 4.5, (name, width, scheme)
        page.close()
    finally:
        server.shutdown()
        thread.join()
        server.close()


SHOWN = ("#question", "#text", "#reference", "#passage", "#count", "#place", "#correct", "#incorrect", "#help summary")
CONTRAST = """name => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => numbers(colour).slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const part = document.querySelector(name);
  let ground = part;
  while (numbers(getComputedStyle(ground).backgroundColor)[3] === 0) ground = ground.parentElement;
  const [a, b] = [light(getComputedStyle(part).color), light(getComputedStyle(ground).backgroundColor)];
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}"""
