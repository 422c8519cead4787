"""The server's routes: OpenAI's chat and embeddings, feedback, health, metrics and the page."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib.resources import files

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from raglift.ask import Asker, Prompted, Reply, check_question
from raglift.config import AnswerConfig
from raglift.errors import InputError
from raglift.models.completions import Completion
from raglift.records import Arm
from raglift.runfolder import RunFolder
from raglift.serve.batching import Batcher, Event, Failed, Finished, Job, Piece
from raglift.serve.failures import (
    ApiError,
    explain_input_error,
    respond_to_api_error,
    respond_to_crash,
    respond_to_http_error,
)
from raglift.serve.feedback import FeedbackBook
from raglift.serve.gate import Gate
from raglift.serve.replies import (
    ChatHead,
    write_chunk,
    write_completion,
    write_embeddings,
    write_event,
    write_first_chunks,
    write_last_chunk,
    write_usage_chunk,
)
from raglift.serve.requests import ChatRequest, EmbeddingRequest, FeedbackRequest, Limits, read_body

PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/texts.js": ("texts.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
SUGGESTED = 4  # questions of the experiment that the page offers
PING_SECONDS = 15.0  # a waiting stream says so this often, so that no proxy closes it


@dataclass
class Work:
    """A chat request on its way: its job, what comes of it, and what its replies carry."""

    job: Job
    events: asyncio.Queue[Event]
    head: ChatHead

    def make_replies(self, completions: tuple[Completion, ...]) -> list[Reply]:
        return [Reply(self.head.prompted, one.text, one.tokens, one.truncated) for one in completions]


class Service:
    """Answers requests for one run."""

    def __init__(self, asker: Asker, folder: RunFolder, batcher: Batcher, limits: Limits | None = None) -> None:
        self.asker, self.batcher, self.limits = asker, batcher, limits or Limits()
        self.metrics = batcher.metrics
        self.feedback = FeedbackBook(folder, asker.experiment)
        self.arms = {str(arm): arm for arm in asker.list_arms()}
        self.searching = anyio.CapacityLimiter(1)  # embedder and tokenizer serve one thread at a time

    async def complete_chat(self, request: Request) -> Response:
        body = await read_body(request, ChatRequest, self.limits)
        work = await self._begin(body)
        if body.stream:
            usage = bool(body.stream_options and body.stream_options.include_usage)
            headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
            return StreamingResponse(self._stream(work, usage), media_type="text/event-stream", headers=headers)
        replies = await self._wait(request, work)
        return JSONResponse(write_completion(work.head, replies))

    async def _begin(self, body: ChatRequest) -> Work:
        """Check, search, build the prompt and queue the job."""
        arm = self._find_arm(body.model)
        decoding = self._choose_decoding(body)
        stops, question, samples = body.list_stops(), body.find_question(), body.n or 1
        if len(question) > self.limits.question_characters:
            raise ApiError(
                413, f"a question of {len(question)} characters, expected at most {self.limits.question_characters}",
                "question_too_long", "messages",
            )  # fmt: skip
        check_question(question)
        with self.batcher.expect(samples):
            prepare = partial(self.asker.prepare, question, arm, body.k)
            prompted = await anyio.to_thread.run_sync(prepare, limiter=self.searching)
            self._check_length(prompted, decoding)
            events: asyncio.Queue[Event] = asyncio.Queue()
            notify = make_notify(events)
            seed = uuid.uuid4().hex if body.seed is None else str(body.seed)
            noise = [f"chat {seed} {sample}" for sample in range(samples)]
            job = Job(arm.tuning, prompted.prompt, prompted.prompt_tokens, noise, decoding, stops, notify)
            job.streams = bool(body.stream)
            self.batcher.submit(job)
        return Work(job, events, ChatHead(body.model, prompted, body.list_notes()))

    def _find_arm(self, model: str) -> Arm:
        if model not in self.arms:
            known = ", ".join(self.arms)
            raise ApiError(404, f"no model '{model[:100]}' here, there are {known}", "model_not_found", "model")
        return self.arms[model]

    def _choose_decoding(self, body: ChatRequest) -> AnswerConfig:
        usual = self.asker.config.answer
        tokens = body.max_completion_tokens or body.max_tokens or usual.max_new_tokens
        most = max(self.limits.new_tokens, usual.max_new_tokens)
        if tokens > most:
            raise ApiError(400, f"max_tokens is {tokens}, expected at most {most}", "invalid_value", "max_tokens")
        temperature = usual.temperature if body.temperature is None else float(body.temperature)
        return usual.model_copy(update={"max_new_tokens": tokens, "temperature": temperature})

    def _check_length(self, prompted: Prompted, decoding: AnswerConfig) -> None:
        most, window = self.limits.prompt_tokens, self.asker.window
        if window is not None:
            most = min(most, window - decoding.max_new_tokens)
        if prompted.prompt_tokens > most:
            raise ApiError(
                400, f"the prompt with its passages has {prompted.prompt_tokens} tokens, expected at most {most}",
                "context_length_exceeded", "messages",
            )  # fmt: skip

    async def _wait(self, request: Request, work: Work) -> list[Reply]:
        """The replies; when the client goes away, its rows leave the batch."""
        end = asyncio.create_task(wait_for_end(work.events))
        gone = asyncio.create_task(wait_for_disconnect(request))
        try:
            await asyncio.wait({end, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not end.done():
                raise ClientDisconnect
            return self._keep(work, end.result())
        finally:
            work.job.cancelled = True
            end.cancel()
            gone.cancel()

    def _keep(self, work: Work, event: Finished | Failed) -> list[Reply]:
        if isinstance(event, Failed):
            raise ApiError(500, event.message, "generation_failed")
        replies = work.make_replies(event.completions)
        for reply in replies:
            self.feedback.remember(reply)
        return replies

    async def _stream(self, work: Work, with_usage: bool) -> AsyncIterator[str]:
        try:
            for chunk in write_first_chunks(work.head, len(work.job.noise)):
                yield write_event(chunk)
            while True:
                try:
                    event = await asyncio.wait_for(work.events.get(), PING_SECONDS)
                except TimeoutError:
                    yield ": waiting\n\n"
                    continue
                if not isinstance(event, Piece):
                    break
                yield write_event(write_chunk(work.head, event.sample, {"content": event.text}))
            replies = self._keep(work, event)
            for index, reply in enumerate(replies):
                yield write_event(write_last_chunk(work.head, index, reply))
            if with_usage:
                yield write_event(write_usage_chunk(work.head, replies))
            yield write_event("[DONE]")
        except ApiError as error:
            yield write_event(error.as_dict())
        finally:
            work.job.cancelled = True

    async def embed_texts(self, request: Request) -> Response:
        body = await read_body(request, EmbeddingRequest, self.limits)
        embedder = self.asker.retriever.index.embedder
        texts = body.list_texts()
        if body.model != embedder.name:
            unknown = f"no embedder '{body.model[:100]}' here, it is {embedder.name}"
            raise ApiError(404, unknown, "model_not_found", "model")
        if body.dimensions not in (None, embedder.dimensions):
            raise ApiError(400, f"dimensions: it has {embedder.dimensions}", "invalid_value", "dimensions")
        if not 1 <= len(texts) <= self.limits.texts:
            raise ApiError(400, f"{len(texts)} texts, expected 1 to {self.limits.texts}", "invalid_value", "input")
        if max(map(len, texts)) > self.limits.question_characters:
            most = self.limits.question_characters
            raise ApiError(413, f"a text of more than {most} characters", "text_too_long", "input")
        for text in texts:
            check_question(text)
        embed = embedder.embed_queries if body.input_type == "query" else embedder.embed_passages
        vectors = await anyio.to_thread.run_sync(embed, texts, limiter=self.searching)
        tokens = sum(map(embedder.count_tokens, texts))
        return JSONResponse(write_embeddings(body.model, vectors, body.encoding_format == "base64", tokens))

    async def list_models(self, request: Request) -> Response:
        """One id an arm, then the embedder; `metadata` is what the page needs to know."""
        names = [*self.arms, self.asker.retriever.index.embedder.name]
        preferred = self.asker.choose_arm(None)
        a, b = self.asker.choose_pair(preferred)
        questions = self.asker.experiment.questions
        step = max(1, len(questions) // SUGGESTED)
        about = {
            "experiment": self.asker.experiment.name,
            "language": self.asker.config.report.language,
            "arms": list(self.arms),
            "arm": str(preferred),
            "compare": [str(a), str(b)],
            "questions": [question.question for question in questions[::step][:SUGGESTED]],
        }
        return JSONResponse({"object": "list", "data": [describe_model(name) for name in names], "metadata": about})

    async def show_model(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in (*self.arms, self.asker.retriever.index.embedder.name):
            raise ApiError(404, f"no model '{name[:100]}' here", "model_not_found", "model")
        return JSONResponse(describe_model(name))

    async def record_feedback(self, request: Request) -> Response:
        body = await read_body(request, FeedbackRequest, self.limits)
        await anyio.to_thread.run_sync(self.feedback.record, body.key, body.verdict)
        self.metrics.count("feedback", verdict=body.verdict)
        return JSONResponse({"key": body.key, "verdict": body.verdict})

    async def show_health(self, request: Request) -> Response:
        alive = self.batcher.is_alive()
        status = {"status": "ok" if alive else "stopped", "waiting": self.batcher.count_waiting()}
        return JSONResponse(status, 200 if alive else 503)

    async def show_metrics(self, request: Request) -> Response:
        gauges = {"waiting_answers": ("Answers in the queue.", float(self.batcher.count_waiting()))}
        return Response(self.metrics.write(gauges), media_type="text/plain; version=0.0.4; charset=utf-8")


def make_notify(events: asyncio.Queue[Event]) -> Callable[[Event], None]:
    """Puts events into the queue from another thread."""
    loop = asyncio.get_running_loop()

    def notify(event: Event) -> None:
        with suppress(RuntimeError):  # the loop is closed after a stop that did not wait
            loop.call_soon_threadsafe(events.put_nowait, event)

    return notify


async def wait_for_end(events: asyncio.Queue[Event]) -> Finished | Failed:
    """The event that ends a job."""
    while isinstance(event := await events.get(), Piece):
        pass
    return event


async def wait_for_disconnect(request: Request) -> None:
    """Returns when the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def describe_model(name: str) -> dict[str, object]:
    """One row of `/v1/models`."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "raglift"}


def show_page_file(path: str) -> Response:
    """A file of the page, from the package."""
    name, media_type = PAGE[path]
    content = (files("raglift") / "serve" / "page" / name).read_bytes()
    return Response(content, media_type=media_type, headers={"cache-control": "no-cache"})


async def show_page(request: Request) -> Response:
    return show_page_file(request.url.path)


def respond_to_input_error(request: Request, error: Exception) -> Response:
    """A user's error of the package as status 400."""
    if not isinstance(error, InputError):
        raise error
    return explain_input_error(error).as_response()


def respond_to_nobody(request: Request, error: Exception) -> Response:
    """The client has gone: nobody reads this."""
    return Response(status_code=499)


def create_application(service: Service, api_key: str | None, rate: int, host: str) -> Gate:
    """The ASGI application; its worker starts and ends with it."""

    @asynccontextmanager
    async def live(app: Starlette) -> AsyncIterator[None]:
        service.batcher.start()
        try:
            yield
        finally:
            await anyio.to_thread.run_sync(service.batcher.stop)

    routes = [
        Route("/v1/chat/completions", service.complete_chat, methods=["POST"]),
        Route("/v1/embeddings", service.embed_texts, methods=["POST"]),
        Route("/v1/models", service.list_models),
        Route("/v1/models/{name:path}", service.show_model),
        Route("/feedback", service.record_feedback, methods=["POST"]),
        Route("/health", service.show_health),
        Route("/metrics", service.show_metrics),
        *(Route(path, show_page) for path in PAGE),
    ]
    handlers = {
        ApiError: respond_to_api_error,
        InputError: respond_to_input_error,
        HTTPException: respond_to_http_error,
        ClientDisconnect: respond_to_nobody,
        Exception: respond_to_crash,
    }
    app = Starlette(routes=routes, exception_handlers=handlers, lifespan=live)
    app.router.redirect_slashes = False  # a redirect would name the host that the request claims
    gate = Gate(app, service.metrics, api_key, rate, host)
    gate.paths = {route.path for route in routes}
    return gate
