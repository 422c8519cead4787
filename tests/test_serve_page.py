"""The chat page in headless Chromium: answers, sources, feedback, languages, widths, foreign text as text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conftest import write_experiment
from raglift.experiment import Run
from raglift.models.completions import Completion
from raglift.models.streaming import TextStream
from raglift.runfolder import recover_lines
from raglift.serve.application import Service
from serve_fixture import make_run, serve

PATIENCE = 240_000  # milliseconds that a slow machine may take
HOSTILE = '<img src=x onerror="window.broken=1"><script>window.broken=1</script> 재현율은 찾아낸 비율이야!'


class ScriptedModel:
    """Answers by whether the prompt holds a passage, token by token as a real model does."""

    identity = "scripted"

    def __init__(self, tokenizer: Any) -> None:
        self.loaded = SimpleNamespace(tokenizer=tokenizer)

    def open_stream(self) -> TextStream:
        return TextStream(self.loaded.tokenizer)

    def complete_prompts(
        self, prompts: Sequence[str], noise: Sequence[Sequence[str]], decoding: Any, watch: Callable[..., bool]
    ) -> list[list[Completion]]:
        made = []
        for row, prompt in enumerate(prompts):
            text = HOSTILE if "제공된 정보" in prompt else "잘 모르겠어!"
            tokens = self.loaded.tokenizer(text, add_special_tokens=False).input_ids
            for step, token in enumerate(tokens):
                watch(row, step, token)
            made.append([Completion(text, len(tokens), False)])
        return made


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Run:
    folder = tmp_path_factory.mktemp("page")
    return make_run(write_experiment(folder / "tiny", tiny_model), folder / "run")


@pytest.fixture(scope="module")
def served(run: Run) -> Iterator[tuple[str, Service]]:
    with serve(run) as (address, service):
        model: Any = ScriptedModel(service.asker.models.base.tokenizer)
        service.batcher.provide = lambda tuning: model
        service.asker.config = service.asker.config.model_copy(
            update={"answer": service.asker.config.answer.model_copy(update={"max_new_tokens": 300})}
        )
        yield address, service


@pytest.fixture
def page(browser: Any, served: tuple[str, Service]) -> Iterator[Any]:
    context = browser.new_context(locale="ko-KR", viewport={"width": 360, "height": 740})
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.seen = []
    page.on("console", lambda message: page.seen.append(message.text))
    page.on("pageerror", lambda error: page.seen.append(str(error)))
    page.on("request", lambda request: page.seen.append(request.url) if served[0] not in request.url else None)
    page.goto(served[0])
    page.locator("#suggestions button").first.wait_for()
    yield page
    context.close()


def ask(page: Any, question: str) -> Any:
    page.fill("#question", question)
    page.press("#question", "Enter")
    turn = page.locator("#turns > li").last
    turn.locator(".verdicts").last.wait_for()
    return turn


def test_answer_streams_with_sources_and_shared_words(page: Any) -> None:
    turn = ask(page, "Recall 이 뭐야?")
    assert turn.locator(".asked").inner_text() == "Recall 이 뭐야?"
    assert turn.locator(".text").inner_text() == HOSTILE
    assert turn.locator(".sources .from").first.inner_text().startswith("recall")
    assert set(turn.locator(".sources mark").all_inner_texts()) == {"재현율", "찾아낸", "비율"}
    assert page.seen == []


def test_foreign_text_stays_text(page: Any, served: tuple[str, Service]) -> None:
    turn = ask(page, HOSTILE)
    assert page.evaluate("window.broken") is None
    assert turn.locator("img, script").count() == 0
    assert page.locator("#turns img").count() == 0
    assert page.seen == []


def test_both_sides_stand_next_to_each_other_where_there_is_room(page: Any) -> None:
    page.locator("#compare").check()
    turn = ask(page, "Recall 이 뭐야?")
    turn.locator(".verdicts").nth(1).wait_for()
    heads = turn.locator(".answer h2").all_inner_texts()
    assert "RAG 없이" in heads[0] and "sft.none" in heads[0] and "RAG 사용" in heads[1]
    texts = turn.locator(".answer .text").all_inner_texts()
    assert texts == ["잘 모르겠어!", HOSTILE]
    boxes = [turn.locator(".answer").nth(place).bounding_box() for place in (0, 1)]
    assert boxes[0]["x"] == boxes[1]["x"] and boxes[1]["y"] > boxes[0]["y"]
    page.set_viewport_size({"width": 1280, "height": 800})
    boxes = [turn.locator(".answer").nth(place).bounding_box() for place in (0, 1)]
    assert boxes[0]["y"] == boxes[1]["y"] and boxes[1]["x"] > boxes[0]["x"]


def test_feedback_reaches_the_grades_and_can_be_taken_back(page: Any, run: Run) -> None:
    turn = ask(page, "드롭아웃이 뭐야?")
    turn.locator("button.wrong").click()
    turn.locator(".verdicts span", has_text="저장했습니다").wait_for()
    rows = recover_lines(run.folder.grades("human"))
    assert rows[-1]["verdict"] == "incorrect" and rows[-1]["author"] == "chat"
    assert recover_lines(run.folder.path / "feedback.jsonl")[-1]["question"] == "드롭아웃이 뭐야?"
    assert rows[-1]["question_id"] == "q-dropout" and rows[-1]["grader"] == "human:chat"
    turn.locator("button.wrong").click()
    turn.locator(".verdicts span", has_text="취소했습니다").wait_for()
    assert recover_lines(run.folder.grades("human"))[-1]["verdict"] == "unscored"


@pytest.mark.parametrize("width", [320, 360, 800, 1280])
def test_nothing_is_wider_than_the_screen(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 740})
    page.locator("#compare").check()
    ask(page, "W" * 200)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for button in page.locator("button:visible, select:visible").all():
        assert button.bounding_box()["height"] >= 40


def test_language_and_theme_are_kept(page: Any) -> None:
    assert page.locator("#send").inner_text() == "질문"
    page.locator("#language").click()
    assert page.locator("#send").inner_text() == "Ask" and page.locator("html").get_attribute("lang") == "en"
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("#theme").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    page.reload()
    assert page.locator("#send").inner_text() == "Ask"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before


def test_both_languages_have_the_same_texts(page: Any) -> None:
    names = page.evaluate("[Object.keys(TEXTS.en).sort(), Object.keys(TEXTS.ko).sort()]")
    assert names[0] == names[1]
    assert page.evaluate("Object.values(TEXTS).every(table => Object.values(table).every(Boolean))")


def test_a_key_is_asked_for_and_failures_are_shown(browser: Any, run: Run) -> None:
    with serve(run, api_key="secret") as (address, service):
        page = browser.new_page(locale="en-US")
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        page.locator("#key-value").fill("secret")
        page.press("#key-value", "Enter")
        page.locator("#suggestions button").first.wait_for()
        service.batcher.provide = lambda tuning: 1 / 0
        page.fill("#question", "hello")
        page.locator("#send").click()
        page.locator(".wrongly", has_text="division by zero").wait_for()
        assert page.locator("#send").inner_text() == "Ask"
        page.close()
