"""`raglift ask`: which arm is asked, what its prompt holds, what comes out as text, stream and JSON."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from conftest import write_experiment
from raglift import cli
from raglift.ask import Asker, convert_arm
from raglift.dialogue import Dialogue, follow_command, hold_conversation, list_details
from raglift.errors import InputError
from raglift.experiment import Run
from raglift.models.streaming import TextStream
from raglift.prompts import PromptWriter
from raglift.records import Arm, parse_arm
from serve_fixture import make_asker, make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Run:
    folder = tmp_path_factory.mktemp("ask")
    return make_run(write_experiment(folder / "tiny", tiny_model), folder / "run")


@pytest.fixture(scope="module")
def asker(run: Run) -> Asker:
    return make_asker(run)


def test_prompt_is_the_runs_own(asker: Asker, run: Run) -> None:
    bare = asker.prepare(" Recall 이 뭐야? ", parse_arm("sft.none"))
    assert bare.prompt == PromptWriter(run.config.prompt).write_prompt("Recall 이 뭐야?", None) and bare.sources == ()
    found = asker.prepare("Recall 이 뭐야?", parse_arm("sft.retrieved"), 2)
    assert found.sources[0].passage_id == "recall" and len(found.sources) == 2
    texts = [source.text for source in found.sources]
    assert found.prompt == PromptWriter(run.config.prompt).write_prompt("Recall 이 뭐야?", texts)
    assert found.sources[0].score > found.sources[1].score


def test_arms_that_can_be_asked(asker: Asker) -> None:
    assert asker.choose_arm(None) == parse_arm("rag-sft.retrieved")
    assert {str(arm) for arm in asker.list_arms()} == {
        f"{tuning}.{context}" for tuning in ("base", "sft", "rag-sft") for context in ("none", "retrieved", "oracle")
    } - {"sft.oracle"}
    for name in ("sft.distractor", "rag-sft.counterfactual", "sft.oracle"):
        with pytest.raises(InputError, match=name):
            asker.choose_arm(name)
    with pytest.raises(InputError, match="no such arm"):
        asker.choose_arm("sft")
    assert convert_arm(Arm("sft", "irrelevant")) == Arm("sft", "retrieved")


def test_pairs_differ(asker: Asker) -> None:
    for arm in asker.list_arms():
        first, second = asker.choose_pair(arm)
        assert first != second and arm in (first, second)
    for name in ("sft.none", "rag-sft.retrieved"):  # the headline's arms stand beside each other
        assert list(map(str, asker.choose_pair(parse_arm(name)))) == ["sft.none", "rag-sft.retrieved"]
    assert list(map(str, asker.choose_pair(parse_arm("base.none")))) == ["base.none", "rag-sft.retrieved"]


def test_oracle_is_asked_with_what_the_search_finds_and_says_so(asker: Asker) -> None:
    oracle, retrieved = (asker.prepare("드롭아웃이 뭐야?", parse_arm(f"rag-sft.{c}")) for c in ("oracle", "retrieved"))
    assert oracle.prompt == retrieved.prompt and oracle.sources
    assert "known to be right" in oracle.notes[0] and retrieved.notes == ()


@pytest.mark.parametrize("question", ["", " \n", "a\x00b", "\x1b[31m", "\ud800", "\x85"])
def test_unusable_questions_are_refused(asker: Asker, question: str) -> None:
    with pytest.raises(InputError):
        asker.prepare(question, parse_arm("base.none"))


def test_question_beyond_the_window_is_refused(asker: Asker) -> None:
    prompted = asker.prepare("가나다라 " * 400, parse_arm("base.none"))
    with pytest.raises(InputError, match="window"):
        asker.ask(prompted)


def test_streamed_pieces_join_to_the_text(asker: Asker) -> None:
    for _ in range(5):
        pieces: list[str] = []
        reply = asker.ask(asker.prepare("정확도가 뭐야?", parse_arm("sft.none")), pieces.append)
        assert "".join(pieces) == reply.text
        assert 0 < reply.tokens <= asker.config.answer.max_new_tokens


def test_stream_waits_for_whole_characters(asker: Asker) -> None:
    tokenizer = asker.models.base.tokenizer
    text = "  뷁똠방각하 🙂👩‍👩‍👧 é ﷽\n끝  "
    stream = TextStream(tokenizer)
    pieces = [stream.push(token) for token in tokenizer(text, add_special_tokens=False).input_ids]
    assert "".join(pieces) == text.strip() and all("\ufffd" not in piece for piece in pieces)
    assert sum(map(bool, pieces)) > 5
    half = TextStream(tokenizer)
    for token in tokenizer("a🙂", add_special_tokens=False).input_ids[:-1]:
        half.push(token)
    assert half.text == "a" and half.finish("a\ufffd") == "\ufffd" and half.finish("other") == ""


def test_command_line_prints_one_json_object(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    cli.app(["ask", str(run.folder.path), "Recall 이 뭐야?", "--compare", "-k", "2", "--json"], standalone_mode=False)
    value: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert [reply["arm"] for reply in value["replies"]] == ["sft.none", "rag-sft.retrieved"]
    assert value["replies"][0]["sources"] == [] and len(value["replies"][1]["sources"]) == 2
    assert {"text", "tokens", "truncated", "key", "notes", "context"} < set(value["replies"][1])


def test_conversation_follows_commands_and_survives_mistakes(
    asker: Asker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["/arm sft.retrieved", "Recall 이 뭐야?", "/k 99", "/arm nonsense", "bad\x00", "/compare"]
    lines += ["정밀도?", "/quit", "never asked"]
    monkeypatch.setattr(sys, "stdin", StringIO("\n".join(lines)))
    hold_conversation(Dialogue(asker, parse_arm("sft.none")))
    shown = capsys.readouterr()
    assert "] recall: Recall (재현율)" in shown.out
    assert "[sft.none]" in shown.out and "[sft.retrieved]" in shown.out
    assert shown.err.count("error: ") == 3


def test_commands_say_what_is_asked_now(asker: Asker) -> None:
    dialogue = Dialogue(asker, parse_arm("sft.none"))
    assert "rag-sft.oracle" in follow_command(dialogue, "/arms").split("\n")
    assert follow_command(dialogue, "/k 3") == "asking sft.none, passages: 3"
    assert "/quit" in follow_command(dialogue, "/what")
    nothing = asker.prepare("Recall", parse_arm("sft.retrieved"))
    assert list_details(nothing)[0].startswith("[")


def test_conversation_in_a_terminal(run: Run) -> None:
    """A person at a terminal: prompts, a streamed answer with its scored sources, two arms side by side, Ctrl-D."""
    process, terminal = start_terminal("ask", str(run.folder.path), "--arm", "sft.retrieved")
    try:
        shown = read_until(terminal, "\n> ")
        assert "/quit leaves" in shown and "asking sft.retrieved" in shown
        os.write(terminal, "Recall 이 뭐야?\n".encode())
        assert re.search(r"\[\d\.\d{3}\] recall: Recall \(재현율\)", read_until(terminal, "\n> "))
        os.write(terminal, b"/compare\n")
        assert "asking sft.none and sft.retrieved" in read_until(terminal, "\n> ")
        os.write(terminal, "정밀도가 뭐야?\n".encode())
        panels = read_until(terminal, "\n> ")
        assert re.search("╭.*sft.none.*╮ ╭.*sft.retrieved.*╮", panels), "side by side"
        os.write(terminal, b"/arm base.oops\n")
        assert "error: arm 'base.oops'" in read_until(terminal, "\n> ")
        os.write(terminal, b"\x04")
        assert process.wait(240) == 0
    finally:
        process.kill()
        process.wait()
        os.close(terminal)


def start_terminal(*arguments: str) -> tuple[subprocess.Popen[bytes], int]:
    """raglift in a terminal of 120 columns; the other end of it."""
    terminal, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    command = [sys.executable, "-m", "raglift", *arguments]
    # Another test may have left a width there, which would count before the terminal's own.
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        command, stdin=inner, stdout=inner, stderr=inner, env={**environment, "TERM": "xterm"}, start_new_session=True
    )
    os.close(inner)
    return process, terminal


def read_until(terminal: int, text: str, seconds: float = 240) -> str:
    """What the terminal shows up to a text that has to come."""
    shown, deadline = b"", time.monotonic() + seconds
    while text not in (plain := re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", shown.decode(errors="replace"))):
        assert time.monotonic() < deadline, plain
        if select.select([terminal], [], [], 0.2)[0]:
            shown += os.read(terminal, 65536)
    return plain
