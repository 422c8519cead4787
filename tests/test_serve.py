"""The OpenAI-compatible server: the official client, batches, hostile requests, limits, stop and restart."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import openai
import pytest

from conftest import QUESTIONS, write_experiment
from raglift.experiment import Run
from raglift.grading.grades import read_grades
from raglift.grading.review_log import build_rows
from raglift.models.generation import Completion
from raglift.runfolder import recover_lines
from raglift.serve.application import Service
from raglift.serve.batching import BatchLimits, Job, Row, find_first
from raglift.serve.gate import RateLimit, is_loopback, split_host
from raglift.serve.metrics import Metrics
from raglift.serve.requests import Limits
from serve_fixture import make_run, serve
from serve_hostile import EMBEDDINGS, FEEDBACK, INJECTIONS, PATHS, list_hostile_bodies

PATIENCE = 240.0  # seconds that a slow machine may take
get, post, stream = (partial(call, timeout=PATIENCE) for call in (httpx2.get, httpx2.post, httpx2.stream))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Run:
    folder = tmp_path_factory.mktemp("serve")
    return make_run(write_experiment(folder / "tiny", tiny_model), folder / "run")


@pytest.fixture(scope="module")
def served(run: Run) -> Iterator[tuple[str, Service]]:
    with serve(run) as pair:
        yield pair


@pytest.fixture(scope="module")
def address(served: tuple[str, Service]) -> str:
    return served[0]


@pytest.fixture
def client(address: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)


def ask(client: openai.OpenAI, question: str = "Recall 이 뭐야?", model: str = "sft.retrieved", **options: Any) -> Any:
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": question}], **options)


def test_models_are_the_arms_and_the_embedder(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert {"base.none", "sft.none", "rag-sft.oracle", "rag-sft.retrieved", "e5-small"} <= set(names)
    assert client.models.retrieve("rag-sft.oracle").id == "rag-sft.oracle"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("../../etc/passwd")


def test_a_completion_carries_its_sources_and_counts_its_tokens(client: openai.OpenAI) -> None:
    reply = ask(client, n=3, max_tokens=5, seed=1)
    assert len(reply.choices) == 3
    assert reply.metadata["context"] == "retrieved"
    assert reply.metadata["sources"][0]["passage_id"] == "recall"
    assert 0 < reply.usage.completion_tokens <= 15
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    assert len(set(reply.metadata["keys"])) == len({choice.message.content for choice in reply.choices})


def test_no_context_has_no_sources_and_oracle_says_what_it_reads(client: openai.OpenAI) -> None:
    assert ask(client, model="sft.none", max_tokens=2).metadata["sources"] == []
    oracle = ask(client, model="rag-sft.oracle", max_tokens=2).metadata
    assert oracle["sources"] and "known to be right" in oracle["notes"][0]


def test_seed_repeats_and_temperature_zero_is_greedy(client: openai.OpenAI) -> None:
    first, again, other = (ask(client, seed=seed).choices[0].message.content for seed in (7, 7, 8))
    assert first == again != other
    greedy = {ask(client, temperature=0, seed=seed).choices[0].message.content for seed in (1, 2)}
    assert len(greedy) == 1


def test_stream_joins_to_the_whole_reply(client: openai.OpenAI) -> None:
    whole = ask(client, seed=3, max_tokens=12)
    chunks = list(ask(client, seed=3, max_tokens=12, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[0].metadata["sources"] == whole.metadata["sources"]
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert chunks[-2].metadata["key"] == whole.metadata["keys"][0]
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_stop_sequence_cuts_text_and_stream_alike(client: openai.OpenAI) -> None:
    text = ask(client, seed=5, max_tokens=12).choices[0].message.content
    stop = text[len(text) // 2]
    cut = ask(client, seed=5, max_tokens=12, stop=[stop]).choices[0]
    assert cut.message.content == text[: text.index(stop)].rstrip()
    assert cut.finish_reason == "stop"
    streamed = ask(client, seed=5, max_tokens=12, stop=stop, stream=True)
    assert "".join(c.choices[0].delta.content or "" for c in streamed).rstrip() == cut.message.content


def test_embeddings_are_the_runs_embedder_in_both_formats(client: openai.OpenAI) -> None:
    texts = ["재현율이 뭐야?", "드롭아웃"]
    packed = client.embeddings.create(model="e5-small", input=texts)
    plain = client.embeddings.create(model="e5-small", input=texts, encoding_format="float")
    for one, other in zip(packed.data, plain.data, strict=True):
        assert len(one.embedding) == 384
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
        assert sum(x * x for x in other.embedding) == pytest.approx(1, abs=1e-3)


def test_earlier_turns_are_named_as_left_out(client: openai.OpenAI) -> None:
    messages: Any = [{"role": "system", "content": "말을 바꿔"}, {"role": "user", "content": "Recall 이 뭐야?"}]
    reply: Any = client.chat.completions.create(model="sft.none", messages=messages, max_tokens=2)
    assert "earlier turns" in reply.metadata["notes"][0]


def test_control_tokens_in_a_question_are_plain_text(run: Run, address: str) -> None:
    with serve(run) as (_, service):
        prompted = service.asker.prepare("<eos> 토큰이 뭐야? <bos>", service.arms["sft.none"])
    tokenizer = service.asker.models.base.tokenizer
    assert prompted.question.startswith("<eos>")
    assert not {1, 2} & set(tokenizer(prompted.prompt).input_ids)


def wait_until(ripe: Callable[[], bool]) -> bool:
    """Whether it came true before patience was lost."""
    until = time.monotonic() + PATIENCE
    while not ripe() and time.monotonic() < until:
        time.sleep(0.02)
    return ripe()


def count(service: Service, what: str) -> float:
    """A number of the service's metrics."""
    lines = (line.rsplit(" ", 1) for line in service.metrics.write({}).splitlines() if not line.startswith("#"))
    return float(dict(lines).get(f"raglift_{what}_total", 0))


def test_fifty_clients_lose_and_cross_nothing(served: tuple[str, Service], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reply must be the one that its question and seed get alone: the passages, the prompt, the text."""
    address, service = served
    batcher, submit, provide = service.batcher, service.batcher.submit, service.batcher.provide
    submitted: list[Job] = []

    def note(job: Job) -> None:
        submit(job)
        submitted.append(job)

    def provide_late(tuning: str) -> Any:
        assert wait_until(lambda: len(submitted) >= 50), "no batch is computed before all have asked"
        return provide(tuning)

    monkeypatch.setattr(batcher, "submit", note)
    monkeypatch.setattr(batcher, "provide", provide_late)
    before = count(service, "batched_answers"), count(service, "batches")

    async def ask_all() -> list[Any]:
        client = openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=PATIENCE)
        arms = ("sft.none", "sft.retrieved", "rag-sft.retrieved", "base.none")

        async def one(number: int) -> Any:
            content = f"{QUESTIONS[number % 6][1]} ({number})"
            message: Any = [{"role": "user", "content": content}]
            reply: Any = await client.chat.completions.create(
                model=arms[number % 4], messages=message, seed=number, max_tokens=4 + number % 5, temperature=0.6
            )
            return number, reply

        return await asyncio.gather(*(one(number) for number in range(50)))

    replies = asyncio.run(ask_all())
    assert sorted(number for number, _ in replies) == list(range(50))
    assert len({reply.id for _, reply in replies}) == 50
    assert wait_until(lambda: count(service, "batched_answers") - before[0] >= 50), "counted after it is sent"
    assert count(service, "batches") - before[1] <= 5, "the first, one for each of three tunings, the test's before"
    alone = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
    same = 0
    for number, reply in replies[::5]:
        arms = ("sft.none", "sft.retrieved", "rag-sft.retrieved", "base.none")
        again = ask(
            alone, f"{QUESTIONS[number % 6][1]} ({number})", arms[number % 4], seed=number, max_tokens=4 + number % 5,
            temperature=0.6,
        )  # fmt: skip
        assert reply.metadata["sources"] == again.metadata["sources"]
        assert reply.metadata["arm"] == again.metadata["arm"]
        assert reply.usage.prompt_tokens == again.usage.prompt_tokens
        same += reply.choices[0].message.content == again.choices[0].message.content
    assert same >= 9  # a sum in another order may tip one draw
    assert f"raglift_batched_answers_total {count(service, 'batched_answers'):g}" in get(f"{address}/metrics").text


def test_hostile_requests_get_a_clean_4xx_and_the_server_lives(client: openai.OpenAI, address: str) -> None:
    bodies = list_hostile_bodies()
    assert len(bodies) >= 180
    http = httpx2.Client(base_url=address, headers={"content-type": "application/json"}, timeout=PATIENCE)
    for body in bodies:
        check_refusal(http.post("/v1/chat/completions", content=body), body[:120])
    for value in EMBEDDINGS:
        check_refusal(http.post("/v1/embeddings", content=json.dumps(value)), value)
    for value in FEEDBACK:
        check_refusal(http.post("/feedback", content=json.dumps(value)), value)
    for path in PATHS:
        check_refusal(http.get(path), path)
    check_refusal(http.get("/v1/chat/completions"), "method")
    check_refusal(http.post("/v1/chat/completions", content=b"{}", headers={"content-type": "text/plain"}), "type")
    check_refusal(http.get("/v1/models", headers={"host": "attacker.example"}), "host")
    check_refusal(http.post("/feedback", content=b"{}", headers={"origin": "https://attacker.example"}), "origin")
    assert http.get("/health").json()["status"] == "ok"
    assert ask(client, max_tokens=2).choices


def check_refusal(reply: Any, what: object) -> None:
    assert 400 <= reply.status_code < 500, (reply.status_code, what)
    error = reply.json()["error"]
    assert error["message"] and error["type"] and set(error) == {"message", "type", "param", "code"}, what
    assert "Traceback" not in reply.text


def test_injections_are_questions_like_others(client: openai.OpenAI) -> None:
    for text in INJECTIONS:
        reply = ask(client, text, max_tokens=2)
        assert len(reply.metadata["sources"]) == 1, text


def test_too_long_for_the_window_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, "가나다라 " * 400)
    assert caught.value.code == "context_length_exceeded"


def test_feedback_is_kept_with_its_question(client: openai.OpenAI, address: str, run: Run) -> None:
    reply = ask(client, "Recall 이 뭐야?", max_tokens=6)
    key = reply.metadata["keys"][0]
    for verdict in ("correct", "incorrect"):
        assert post(f"{address}/feedback", json={"key": key, "verdict": verdict}).status_code == 200
    graded = [row for row in recover_lines(run.folder.grades("human")) if row["key"] == key][-1]
    assert graded.keys() == build_rows(["k"], "q", "kim", "grade", "correct", "")[0].keys(), "as the review writes them"
    assert (graded["question_id"], graded["author"], graded["verdict"]) == ("q-recall", "chat", "incorrect")
    row = [row for row in recover_lines(run.folder.path / "feedback.jsonl") if row["key"] == key][-1]
    assert row["question"] == "Recall 이 뭐야?" and row["arm"] == "sft.retrieved"
    assert row["text"] == reply.choices[0].message.content and row["passages"] == ["recall"]
    assert read_grades(run.folder.grades("human"))[key].verdict == "incorrect"


class PausedModel:
    """A model that computes its 200th token only when nobody waits for it any more."""

    def __init__(self, model: Any, jobs: list[Job]) -> None:
        self.model, self.jobs = model, jobs

    def open_stream(self) -> Any:
        return self.model.open_stream()

    def complete_prompts(
        self, prompts: Sequence[str], noise: Sequence[Sequence[str]], decoding: Any, watch: Callable[..., bool]
    ) -> Any:
        def pause(row: int, step: int, token: Any) -> bool:
            return watch(row, step, token) and (step < 200 or wait_until(lambda: self.jobs[0].cancelled))

        return self.model.complete_prompts(prompts, noise, decoding, pause)


def test_a_client_that_leaves_frees_its_row(run: Run) -> None:
    with serve(run) as (address, service):
        jobs: list[Job] = []
        submit, provide = service.batcher.submit, service.batcher.provide
        service.batcher.submit = lambda job: (jobs.append(job), submit(job))[1]  # type: ignore[method-assign]
        service.batcher.provide = lambda tuning: PausedModel(provide(tuning), jobs)
        messages = [{"role": "user", "content": "안녕"}]
        body = {"model": "sft.none", "messages": messages, "max_tokens": 400, "stream": True}
        with stream("POST", f"{address}/v1/chat/completions", json=body) as reply:
            assert any('"content": "' in line and '"content": ""' not in line for line in reply.iter_lines())
        assert wait_until(lambda: count(service, "batches") == 1)
        assert jobs[0].cancelled
        assert count(service, "generated_tokens") < 400


def test_full_queue_rate_and_key(run: Run) -> None:
    body = {"model": "sft.none", "messages": [{"role": "user", "content": "안녕"}], "n": 4}
    with serve(run, batches=BatchLimits(queue=3)) as (address, _):
        reply = post(f"{address}/v1/chat/completions", json=body)
        assert reply.status_code == 429 and reply.headers["retry-after"]
        assert reply.json()["error"]["code"] == "queue_full"
    with serve(run, rate=2, api_key="secret", limits=Limits(body_bytes=50)) as (address, _):
        assert get(f"{address}/v1/models").status_code == 401
        with pytest.raises(openai.RateLimitError):
            client = openai.OpenAI(base_url=f"{address}/v1", api_key="secret", max_retries=0)
            assert client.models.list().data
            client.models.list()
        assert get(f"{address}/health").status_code == 200
    with serve(run, api_key="secret", limits=Limits(body_bytes=50)) as (address, _):
        assert get(f"{address}/").status_code == 200
        reply = post(f"{address}/v1/chat/completions", json=body, headers={"authorization": "Bearer secret"})
        assert reply.status_code == 413
        for wrong in ("Bearer secre", "Basic secret", "secret", "Bearer 비밀".encode()):
            assert get(f"{address}/metrics", headers={"authorization": wrong}).status_code == 401


def test_a_failing_batch_fails_alone(run: Run) -> None:
    with serve(run) as (address, service):
        broken, service.batcher.provide = service.batcher.provide, lambda tuning: 1 / 0
        body = {"model": "sft.none", "messages": [{"role": "user", "content": "안녕"}], "max_tokens": 2}
        reply = post(f"{address}/v1/chat/completions", json=body)
        assert reply.status_code == 500 and reply.json()["error"]["type"] == "server_error"
        streamed = post(f"{address}/v1/chat/completions", json={**body, "stream": True})
        assert '"error"' in streamed.text and "[DONE]" not in streamed.text
        service.batcher.provide = broken
        assert post(f"{address}/v1/chat/completions", json=body).status_code == 200


@pytest.fixture
def start_server(run: Run) -> Iterator[Callable[..., tuple[subprocess.Popen[str], str]]]:
    """Starts servers as processes of their own; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(port: str = "0") -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, "-m", "raglift", "serve", str(run.folder.path), "--port", port]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        started.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment))
        for line in started[-1].stderr or ():
            if "http://" in line:
                return started[-1], line.split()[2]
        raise AssertionError(f"the server ended with {started[-1].wait()}")

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_a_server_killed_under_load_starts_again_and_a_stopped_one_finishes_what_runs(start_server: Any) -> None:
    """SIGKILL: clients who ask again get every reply from the next start. SIGTERM: what runs is answered, exit 0."""
    process, address = start_server()
    found: dict[int, str] = {}
    lost: list[int] = []
    down = asyncio.Event()

    async def ask_until_answered(number: int) -> None:
        client = openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=PATIENCE)
        messages: Any = [{"role": "user", "content": QUESTIONS[number % 6][1]}]
        if number >= 40:
            await down.wait()
        while number not in found:
            try:
                reply: Any = await client.chat.completions.create(
                    model="sft.retrieved", messages=messages, max_tokens=40
                )
                found[number] = reply.metadata["sources"][0]["passage_id"]
            except openai.APIConnectionError:
                lost.append(number)
                await asyncio.sleep(0.3)

    async def kill_and_start_again() -> subprocess.Popen[str]:
        while not found:
            await asyncio.sleep(0.01)
        process.kill()
        process.wait()
        down.set()
        while not lost:
            await asyncio.sleep(0.01)
        again: subprocess.Popen[str] = (await asyncio.to_thread(start_server, address.rpartition(":")[2]))[0]
        return again

    async def ask_all() -> subprocess.Popen[str]:
        again, *_ = await asyncio.gather(kill_and_start_again(), *(ask_until_answered(number) for number in range(50)))
        return again

    process = asyncio.run(ask_all())
    assert set(found) == set(range(50))
    assert all(passage == found[number % 6] for number, passage in found.items()), "no reply is another question's"

    messages = [{"role": "user", "content": "안녕"}]
    body = {"model": "sft.none", "messages": messages, "max_tokens": 300, "stream": True}
    with stream("POST", f"{address}/v1/chat/completions", json=body) as reply:
        lines = reply.iter_lines()
        next(lines)
        process.send_signal(signal.SIGTERM)
        assert [line for line in lines if line][-1] == "data: [DONE]"
    assert process.wait(60) == 0
    with pytest.raises(httpx2.ConnectError):
        get(f"{address}/health")


def test_row_cuts_at_a_stop_that_spans_tokens_and_ignores_repeats() -> None:
    class Letters:
        def decode(self, tokens: list[int], skip_special_tokens: bool) -> str:
            return "".join(map(chr, tokens))

    from raglift.config import AnswerConfig
    from raglift.models.streaming import TextStream

    events: list[Any] = []
    job = Job("sft", "p", 1, ["a"], AnswerConfig(max_new_tokens=20), ("END",), events.append)
    job.streams = True
    model: Any = SimpleNamespace(open_stream=lambda: TextStream(Letters()))
    row = Row(job, 0, model)
    going = [row.take(step, ord(letter)) for step, letter in enumerate(" abENcEND")]
    assert going == [True] * 8 + [False]
    assert row.take(0, ord("a")) and not row.take(8, ord("D"))
    done = row.finish(Completion("abENcEND", 8, True))
    assert done == Completion("abENc", 8, False)
    assert "".join(event.text for event in events) == "abENc"
    assert find_first("abc", ("c", "b")) == 1 and find_first("abc", ()) == -1


def test_equal_prompts_are_read_once_and_answered_each() -> None:
    """Rows go back to their own jobs when jobs with equal prompts lie apart in the queue."""
    from raglift.config import AnswerConfig
    from raglift.serve.batching import Batcher

    asked: list[Any] = []

    class Echo:
        def complete_prompts(self, prompts: list[str], noise: list[list[str]], decoding: Any, watch: Any) -> Any:
            asked.append((prompts, decoding.max_new_tokens))
            return [[Completion(f"{p}/{n}", 1, False) for n in names] for p, names in zip(prompts, noise, strict=True)]

    events: dict[str, list[Any]] = {}
    jobs = []
    for name, prompt, samples, longest in (("a", "p", 2, 3), ("b", "q", 1, 9), ("c", "p", 1, 5)):
        noise = [f"{name}{sample}" for sample in range(samples)]
        settings = AnswerConfig(max_new_tokens=longest)
        jobs.append(Job("sft", prompt, 1, noise, settings, (), events.setdefault(name, []).append))
    model: Any = Echo()
    batcher = Batcher(lambda tuning: model, BatchLimits(), Metrics())
    batcher.waiting.extend(jobs)
    batcher.start()
    batcher.stop()
    assert asked == [(["p", "q"], 9)]
    texts = {name: [one.text for one in found[-1].completions] for name, found in events.items()}
    assert texts == {"a": ["p/a0", "p/a1"], "b": ["q/b0"], "c": ["p/c0"]}


def test_batches_keep_to_their_limits() -> None:
    from raglift.config import AnswerConfig
    from raglift.serve.batching import Batcher

    def make_job(tuning: str, length: int, temperature: float = 0.6) -> Job:
        settings = AnswerConfig(max_new_tokens=10, temperature=temperature)
        return Job(tuning, "p", length, ["n"], settings, (), lambda event: None)

    model: Any = None
    batcher = Batcher(lambda tuning: model, BatchLimits(rows=3, tokens=300), Metrics())
    made = [("sft", 40), ("base", 5), ("sft", 200), ("sft", 40), ("sft", 40, 0.1), ("sft", 40), ("sft", 40)]
    jobs = [make_job(*values) for values in made]
    jobs[3].cancelled = True
    batcher.waiting.extend(jobs)
    taken = []
    while batcher.waiting:
        taken.append([jobs.index(job) for job in batcher._take_batch()])
    assert taken == [[0, 5, 6], [1], [2], [4]]


def test_rate_limit_fills_evenly_and_forgets() -> None:
    limit = RateLimit(60)
    assert [limit.take("a", 0.0) for _ in range(60)] == [0.0] * 60
    assert limit.take("a", 0.0) == pytest.approx(1)
    assert limit.take("b", 0.0) == 0
    assert limit.take("a", 1.0) == 0 and limit.take("a", 1.0) > 0


def test_hosts() -> None:
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.8.8.8", "::1", "LOCALHOST")))
    assert not any(map(is_loopback, ("", "localhost.attacker.example", "0.0.0.0", "10.0.0.1", "::")))
    assert [split_host(h) for h in ("[::1]:80", "a.b:1", "localhost")] == ["::1", "a.b", "localhost"]


def test_metrics_are_cumulative() -> None:
    metrics = Metrics()
    for seconds in (0.01, 0.2, 100):
        metrics.count_request("/x", 200, seconds)
    text = metrics.write({})
    assert 'raglift_request_seconds_bucket{path="/x",le="0.25"} 2' in text
    assert 'raglift_request_seconds_bucket{path="/x",le="+Inf"} 3' in text
    assert 'raglift_requests_total{path="/x",status="200"} 3' in text
