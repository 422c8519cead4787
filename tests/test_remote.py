"""`model: openai:NAME@URL` against local servers that misbehave: nothing lost, nothing paid twice, clear errors."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import write_experiment
from judge_fixture import FakeServer, Response, Seen, run_server
from raglift import cli
from raglift.config import AnswerConfig, Config, load_config, validate_config
from raglift.errors import InputError, RunError
from raglift.experiment import answer_questions, open_run, reopen_run, run_experiment
from raglift.models.calls import CallLog
from raglift.models.remote import RemoteModel, clean_reply, identify_remote, parse_remote
from raglift.runfolder import recover_lines

DECODING = AnswerConfig(samples=2, max_new_tokens=12, stop="line")
FAST = ["remote.first_wait=0.001", "remote.timeout=5", "retrieval.search=lexical"]
Behaviour = Callable[[Seen, int], Response]


def reply(*texts: str | None, finish: str = "stop", tokens: int = 5) -> Response:
    """A chat completion with these texts."""
    choices = [{"message": {"role": "assistant", "content": text}, "finish_reason": finish} for text in texts]
    usage = {"prompt_tokens": 10, "completion_tokens": tokens * len(texts)}
    return Response(json.dumps({"choices": choices, "usage": usage}))


def refuse(message: str, status: int = 400, **headers: str) -> Response:
    return Response(json.dumps({"error": {"message": message}}), status, headers)


def obey(seen: Seen, number: int) -> Response:
    """A server that gives n samples, each with the prompt's own words."""
    return reply(*(f"{seen.text[-5:]} {sample}" for sample in range(seen.body.get("n", 1))))


def make_config(*urls: str, **remote: Any) -> Config:
    settings = {"first_wait": 0.001, "timeout": 5.0, **remote}
    return Config.model_validate({"name": "small", "model": f"openai:fake@{','.join(urls)}", "remote": settings})


def make_model(folder: Path, *servers: FakeServer, **remote: Any) -> RemoteModel:
    config = make_config(*(server.url for server in servers), **remote)
    return RemoteModel(config, CallLog(folder / "remote.jsonl"))


def ask(model: RemoteModel, prompts: int = 1, samples: int = 2) -> list[list[str]]:
    noise = [[f"0 q{prompt} {sample}" for sample in range(samples)] for prompt in range(prompts)]
    found = model.complete_prompts([f"prompt {number}" for number in range(prompts)], noise, DECODING)
    return [[completion.text for completion in row] for row in found]


def write_remote(folder: Path, url: str) -> Path:
    """The tiny experiment, its model on a server."""
    experiment = write_experiment(folder, Path(f"openai:fake@{url}"))
    text = (experiment / "experiment.yaml").read_text(encoding="utf-8").replace("http:/127", "http://127")
    lines = [line for line in text.splitlines() if not line.startswith("arms:")]
    (experiment / "experiment.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return experiment


def test_names_and_addresses() -> None:
    one = parse_remote("openai:org/qwen@3@http://localhost:8000/v1/")
    assert (one.name, one.urls) == ("org/qwen@3", ("http://localhost:8000/v1",))
    two = parse_remote("openai:q@http://a/v1,https://b/v1")
    assert two == parse_remote("openai:q@http://a/v1,openai:q@https://b/v1") and len(two.urls) == 2
    listed = Config.model_validate({"name": "x", "model": ["openai:q@http://a/v1", "openai:q@https://b/v1"]})
    assert parse_remote(listed.model) == two
    for wrong in (
        "openai:", "openai:q", "openai:q@localhost:8000", "openai:@http://a/v1", "openai:q@http://", "openai:q@http://a,b",
        "openai:q@http://a/v1,openai:r@http://b/v1", "openai:q@http://user:secret@a/v1", "openai:q@http://[/v1",
    ):  # fmt: skip
        with pytest.raises(InputError, match="model"):
            parse_remote(wrong)


def test_identity_is_of_the_model_and_not_of_the_address() -> None:
    known = identify_remote(make_config("http://a/v1"))
    assert identify_remote(make_config("http://b/v1", "http://c/v1", concurrency=9, max_calls=5)) == known
    for changed in ({"revision": "2"}, {"extra": {"top_k": 50}}, {"api": "completions"}):
        assert identify_remote(make_config("http://a/v1", **changed)) != known


def test_arms_of_a_remote_model(tmp_path: Path, tiny_model: Path) -> None:
    experiment = write_remote(tmp_path / "e", "http://127.0.0.1:9/v1")
    config = load_config(experiment / "experiment.yaml")
    assert config.arms == ("base.none", "base.oracle", "base.retrieved")
    assert (config.compare.a, config.compare.b) == ("base.none", "base.oracle")
    for override in ("arms=base.none,sft.none", "arms=base.none,rag-sft.oracle", "compare.b=rag-sft.oracle"):
        with pytest.raises(InputError, match="needs weights"):
            open_run(str(experiment), tmp_path / "run", [override])
    with pytest.raises(InputError, match=r"address|http"):
        open_run(str(experiment), tmp_path / "run", ["model=openai:fake@nowhere"])
    assert not (tmp_path / "run").exists(), "nothing was written"


def test_the_chat_template_is_the_servers(tmp_path: Path, tiny_model: Path) -> None:
    with run_server(obey) as server:
        experiment = write_remote(tmp_path / "e", server.url)
        run = open_run(str(experiment), tmp_path / "run", [*FAST, "prompt.template=chat", "arms=all"])
        assert len(run.config.arms) == 6
        answer_questions(run)
        assert "Recall 이 뭐야?" in {seen.text for seen in server.seen}, "the user's turn alone"
        with pytest.raises(InputError, match=r"remote\.api"):
            open_run(str(experiment), tmp_path / "other", ["prompt.template=chat", "remote.api=completions"])


def test_one_request_for_all_samples(tmp_path: Path) -> None:
    with run_server(obey) as server:
        assert ask(make_model(tmp_path, server), 3, 4)[1] == [f"mpt 1 {n}" for n in range(4)]
    bodies = [seen.body for seen in server.seen]
    assert len(bodies) == 3 and len({body["seed"] for body in bodies}) == 3
    assert all(body["n"] == 4 and body["max_tokens"] == 12 and body["temperature"] == 0.6 for body in bodies)
    assert bodies[0]["messages"] == [{"role": "user", "content": "prompt 0"}]


REFUSALS = {
    "vLLM": ("n must be 1 when using greedy sampling, got 2.", 400),
    "llama.cpp": ("Only one completion choice is allowed", 500),
    "OpenAI": ("Unsupported parameter: 'n' is not supported with this model.", 400),
}


@pytest.mark.parametrize("name", [*REFUSALS, "ignored"])
def test_servers_without_several_samples_are_asked_one_by_one(tmp_path: Path, name: str) -> None:
    def behave(seen: Seen, number: int) -> Response:
        if name != "ignored" and seen.body.get("n", 1) > 1:
            return refuse(*REFUSALS[name])
        return reply(f"seed {seen.body['seed']}")

    with run_server(behave) as server:
        found = ask(make_model(tmp_path, server), 3, 3)
    assert all(len(set(row)) == 3 for row in found), "each sample has its own seed"
    several = [seen for seen in server.seen if seen.body.get("n", 1) > 1]
    assert len(several) == (4 if name == "llama.cpp" else 1), "learned once"


def test_fields_that_a_server_refuses_are_left_out(tmp_path: Path) -> None:
    def behave(seen: Seen, number: int) -> Response:
        if "seed" in seen.body:
            return refuse("unknown field: seed", 422)
        if "max_tokens" in seen.body:
            return refuse("'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.")
        return obey(seen, number)

    with run_server(behave) as server:
        assert ask(make_model(tmp_path, server), 2) == [["mpt 0 0", "mpt 0 1"], ["mpt 1 0", "mpt 1 1"]]
        assert len(server.seen) == 4 and server.seen[-1].body["max_completion_tokens"] == 12
        server.seen.clear()
        with pytest.raises(RunError, match="temperature must be 1"):
            server.behave = lambda seen, number: refuse("temperature must be 1")
            ask(make_model(tmp_path / "other", server))
        assert len(server.seen) == 1, "what cannot pass is not tried again"
        server.behave = obey
        ask(make_model(tmp_path / "third", server, seeds=False, extra={"top_k": 50}, api="chat"))
    assert "seed" not in server.seen[-1].body and server.seen[-1].body["top_k"] == 50


def test_completions_api(tmp_path: Path) -> None:
    def behave(seen: Seen, number: int) -> Response:
        choices = [{"text": f" go on {n}\nand on", "finish_reason": "length"} for n in range(seen.body["n"])]
        return Response(json.dumps({"choices": choices}))

    with run_server(behave) as server:
        assert ask(make_model(tmp_path, server, api="completions")) == [["go on 0", "go on 1"]]
    assert server.seen[0].body["prompt"] == "prompt 0" and "messages" not in server.seen[0].body


def test_failures_that_pass_are_waited_for(tmp_path: Path) -> None:
    failures = [
        refuse("slow down", 429, **{"retry-after": "0.2"}), refuse("boom", 500), Response("<html>", 502),
        dataclasses.replace(obey(Seen({"messages": [{"content": "x"}]}, {}), 0), cut=True),
    ]  # fmt: skip
    with run_server(lambda seen, number: failures[number] if number < 4 else obey(seen, number)) as server:
        started = time.monotonic()
        assert ask(make_model(tmp_path, server, attempts=5)) == [["mpt 0 0", "mpt 0 1"]]
        assert time.monotonic() - started >= 0.2, "Retry-After is honoured"
    calls = recover_lines(tmp_path / "remote.jsonl")
    assert [bool(call["error"]) for call in calls] == [True] * 4 + [False]
    assert "HTTP 429" in calls[0]["error"] and calls[4]["reply_tokens"] == 10


def test_a_server_that_hangs_is_given_up(tmp_path: Path) -> None:
    with run_server(lambda seen, number: dataclasses.replace(reply("late"), delay=0.6)) as server:
        with pytest.raises(RunError, match=r"remote\.timeout"):
            ask(make_model(tmp_path, server, timeout=0.2, attempts=2))
        assert len(server.seen) == 2


def test_a_wrong_key_is_said_once_and_shown_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_KEY", "very-secret")
    with run_server(lambda seen, number: refuse("no such key: very-secret", 401)) as server:
        model = make_model(tmp_path, server, api_key_env="FAKE_KEY")
        with pytest.raises(RunError, match="FAKE_KEY is refused") as caught:
            ask(model, 20)
        assert len(server.seen) == 1 and server.seen[0].headers["authorization"] == "Bearer very-secret"
    assert "very-secret" not in str(caught.value) + (tmp_path / "remote.jsonl").read_text(encoding="utf-8")
    with pytest.raises(InputError, match="api_key_env"):
        validate_config({"name": "x", "remote": {"api_key_env": "sk-pasted-by-mistake"}}, "here")


def test_several_requests_are_in_flight_and_no_more_than_allowed(tmp_path: Path) -> None:
    now, most, lock = 0, 0, threading.Lock()

    def behave(seen: Seen, number: int) -> Response:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.05)
        with lock:
            now -= 1
        return obey(seen, number)

    with run_server(behave) as server:
        assert len(ask(make_model(tmp_path, server, concurrency=3), 13)) == 13
    assert most == 3


def test_two_servers_share_and_a_dead_one_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slow: Behaviour = lambda seen, number: dataclasses.replace(obey(seen, number), delay=0.02)  # noqa: E731
    with run_server(slow) as first, run_server(slow) as second:
        found = ask(make_model(tmp_path / "both", first, second), 20)
        assert len(first.seen) >= 5 and len(second.seen) >= 5
        assert len(first.seen) + len(second.seen) == 20
        second.behave = lambda seen, number: refuse("dying", 503)
        second.seen.clear()
        assert ask(make_model(tmp_path / "one", first, second), 20) == found
        assert len(second.seen) <= 3 + 4, "left out after three failures, with what was in flight"
    assert "is left out" in capsys.readouterr().err


def test_an_address_where_nobody_listens_costs_nothing_beside_a_live_one(tmp_path: Path) -> None:
    with run_server(obey) as dead:
        pass
    with run_server(obey) as server:
        assert len(ask(make_model(tmp_path, dead, server, attempts=2), 10)) == 10
    with pytest.raises(RunError, match="no connection"):
        ask(make_model(tmp_path / "alone", dead, attempts=2), 2)


@pytest.mark.parametrize(
    ("limit", "most"), [({"max_calls": 3}, 3), ({"max_tokens": 40}, 4), ({"max_cost": 0.00003, "output_price": 2.0}, 4)]
)
def test_spending_stops_at_its_limit_and_goes_on_from_there(tmp_path: Path, limit: dict[str, Any], most: int) -> None:
    with run_server(obey) as server:
        with pytest.raises(RunError, match=f"remote.{next(iter(limit))}"):
            ask(make_model(tmp_path, server, concurrency=1, **limit), 8)
        assert len(server.seen) <= most
        spent = len(server.seen)
        ask(make_model(tmp_path, server), 8)
        assert len(server.seen) == 8, f"the {spent} replies before the limit were not paid for again"


def test_no_limit_on_tokens_where_nobody_counts_them(tmp_path: Path) -> None:
    silent = Response(json.dumps({"choices": [{"message": {"content": "a"}}] * 2}))
    with run_server(lambda seen, number: silent) as server:
        with pytest.raises(RunError, match="does not say how many tokens"):
            ask(make_model(tmp_path, server, max_tokens=1000, concurrency=1), 5)
        assert len(server.seen) == 1
    with pytest.raises(ValueError, match="input_price"):
        make_config("http://a/v1", max_cost=1.0)


def test_texts_end_like_those_of_local_models() -> None:
    line, token = DECODING, DECODING.model_copy(update={"stop": "token"})
    for raw, first, whole in (
        ("\n\n 하나\n둘", "하나", "하나\n둘"),
        ("<think>\nhm\n</think>\n\n답\n", "답", "답"),
        ("<think>never ends", "", ""),
        ("<thi", "", ""),
        ("a <think> b", "a <think> b", "a <think> b"),
    ):
        assert (clean_reply(raw, line), clean_reply(raw, token)) == (first, whole)


def stream_of(*pieces: str, usage: bool = True) -> Response:
    chunks = [{"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]} for piece in pieces]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    if usage:
        chunks.append({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 9}})
    body = "".join(f"data: {json.dumps({'id': 'x', 'object': 'chat.completion.chunk', **c})}\n\n" for c in chunks)
    return Response(body + "data: [DONE]\n\n", headers={"content-type": "text/event-stream"})


def test_streamed_pieces_join_to_the_text(tmp_path: Path) -> None:
    def behave(seen: Seen, number: int) -> Response:
        if number == 0:
            return refuse("busy", 503)
        if "stream_options" in seen.body:
            return refuse("unknown field stream_options", 422)
        return stream_of("<th", "ink>no", "</think>", "\n ", "실제 ", " 비율", "이야!", "\n", "more", usage=False)

    pieces: list[str] = []
    with run_server(behave) as server:
        model = make_model(tmp_path, server)
        found = model.complete_prompts(["p"], [["n"]], DECODING, lambda row, step, piece: pieces.append(piece) is None)[
            0
        ][0]
        assert "".join(pieces) == found.text == "실제  비율이야!" and not found.truncated
        server.behave = lambda seen, number: stream_of("a", "b", "c")
        stopped = model.complete_prompts(["p"], [["n"]], DECODING, lambda row, step, piece: step < 1)[0][0]
        assert stopped.text == "ab"
        server.behave = lambda seen, number: dataclasses.replace(stream_of("a", "b"), cut=True, body="data: {")
        with pytest.raises(RunError):
            model.complete_prompts(["p"], [["n"]], DECODING, lambda row, step, piece: True)
        server.behave = obey
        with pytest.raises(RunError, match="a stream was asked for"):
            model.complete_prompts(["p"], [["n"]], DECODING, lambda row, step, piece: True)


def test_a_whole_run_and_its_resume(tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with run_server(obey) as server:
        experiment = write_remote(tmp_path / "e", server.url)
        run = open_run(str(experiment), tmp_path / "run", [*FAST, "remote.input_price=1", "remote.output_price=2"])
        comparison = run_experiment(run)
        assert set(comparison["arms"]) == {"base.none", "base.oracle", "base.retrieved"}
        asked = len(server.seen)
        manifest = run.folder.read_manifest()["remote"]
        assert manifest["calls"] == asked and manifest["cost"] == pytest.approx(asked * (10 + 20) / 1e6)
        assert f"{asked} calls" in capsys.readouterr().err
        assert "127.0.0.1" not in run.folder.report("html").read_text(encoding="utf-8"), "addresses stay private"
        answer_questions(reopen_run(tmp_path / "run"))
        assert len(server.seen) == asked, "nothing is asked again"
        with pytest.raises(InputError, match="answers on a server"):
            cli.app(["export", str(tmp_path / "run")], standalone_mode=False)
        lines = run.folder.answers.read_text(encoding="utf-8").splitlines()
        run.folder.answers.write_text("\n".join(lines[:10]) + "\n", encoding="utf-8")
        answer_questions(reopen_run(tmp_path / "run"))
        assert len(server.seen) == asked, "replies that were paid for are found in remote.jsonl"
        assert {json.loads(line)["key"] for line in lines} == {row["key"] for row in recover_lines(run.folder.answers)}


def test_no_library_of_models_is_loaded(tmp_path: Path, tiny_model: Path) -> None:
    code = """
import sys
from raglift.cli import app
for words in ("check EXPERIMENT --quick", "run EXPERIMENT --run RUN", "answer RUN",
              "ask RUN Recall? --arm base.retrieved"):
    app(words.replace("EXPERIMENT", sys.argv[1]).replace("RUN", sys.argv[2]).split(), standalone_mode=False)
print([name for name in ("torch", "transformers", "peft", "accelerate", "tokenizers") if name in sys.modules])
"""
    with run_server(lambda seen, number: stream_of("x") if seen.body.get("stream") else obey(seen, number)) as server:
        experiment = write_remote(tmp_path / "e", server.url)
        with (experiment / "experiment.yaml").open("a", encoding="utf-8") as stream:
            stream.write("retrieval: {search: lexical}\n")
        command = [sys.executable, "-c", code, str(experiment), str(tmp_path / "run")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stderr
    assert len(server.seen) > 1


def test_kill_9_loses_no_batch_and_pays_nothing_twice(tmp_path: Path, tiny_model: Path) -> None:
    def slow_after_six(seen: Seen, number: int) -> Response:
        return dataclasses.replace(obey(seen, number), delay=0.0 if number < 6 else 20.0)

    with run_server(slow_after_six) as server:
        experiment = write_remote(tmp_path / "e", server.url)
        command = [sys.executable, "-m", "raglift", "run", str(experiment), "--run", str(tmp_path / "run")]
        command += [part for text in [*FAST, "remote.timeout=30"] for part in ("--set", text)]
        process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while len(server.seen) < 7 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert recover_lines(tmp_path / "run" / "answers.jsonl"), "finished batches are on the disk"
        server.behave = obey
        before = {seen.text for seen in server.seen[:6]}
        server.seen.clear()
        run_experiment(open_run(str(experiment), tmp_path / "run", FAST))
        assert not before & {seen.text for seen in server.seen}


def test_ask_a_model_on_a_server(tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with run_server(lambda seen, number: stream_of("비율", "이야!")) as server:
        experiment = write_remote(tmp_path / "e", server.url)
        run = open_run(str(experiment), tmp_path / "run", FAST)
        cli.app(["ask", str(run.folder.path), "Recall 이 뭐야?", "--arm", "base.retrieved"], standalone_mode=False)
    shown = capsys.readouterr().out
    assert shown.startswith("비율이야!") and "recall" in shown
    assert "재현율" in server.seen[0].text and server.seen[0].body["stream"] is True


def test_serve_a_model_on_a_server(tmp_path: Path, tiny_model: Path) -> None:
    """Each request is passed on by itself, side by side; the server's failure is one reply's, and it recovers."""
    import httpx2
    import openai

    from serve_fixture import serve

    def echo(seen: Seen, number: int) -> Response:
        return dataclasses.replace(stream_of(seen.text[:7], " END ", "x"), delay=0.1)

    with run_server(echo) as server:
        experiment = write_remote(tmp_path / "e", server.url)
        run = open_run(str(experiment), tmp_path / "run", [*FAST, "remote.attempts=1", "remote.concurrency=8"])
        with serve(run) as (address, _):
            client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
            answers: dict[int, Any] = {}

            def post(number: int) -> None:
                messages: Any = [{"role": "user", "content": f"q {number:03} ?"}]
                made = client.chat.completions.create(model="base.none", messages=messages, stop=["END"])
                answers[number] = made.choices[0].message.content

            threads = [threading.Thread(target=post, args=(number,)) for number in range(16)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert answers == {number: f"q {number:03} ?"[:7].strip() for number in range(16)}
            chunks = client.chat.completions.create(
                model="base.retrieved", messages=[{"role": "user", "content": "Recall 이 뭐야?"}], stream=True
            )
            assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks).endswith("END x")
            server.behave = lambda seen, number: refuse("no such key", 401)
            with pytest.raises(openai.InternalServerError, match="OPENAI_API_KEY"):
                post(99)
            server.behave = echo
            post(100)
            assert httpx2.get(f"{address}/health").status_code == 200
