"""report.html in headless Chromium: opens from disk, asks the network for nothing, runs no foreign text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from raglift.report import html
from raglift.report.writing import write_report
from report_fixture import HOSTILE, TEXT, add_reviews, make_experiment, write_run


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run, of which two people graded the headline's answers."""
    folder, experiment, config = write_run(tmp_path_factory.mktemp("runs") / "ml-qa-ko")
    add_reviews(folder, experiment, config, {"가나": 0.05, "<script>window.broken = true</script>": 0.4})
    write_report(folder, experiment, config)
    return folder.report("html")


@pytest.fixture(scope="module")
def small_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few questions, all arms, three seeds."""
    path = tmp_path_factory.mktemp("small") / "run"
    folder, experiment, config = write_run(path, seeds=3, experiment=make_experiment(6, 3, 2))
    write_report(folder, experiment, config)
    return folder.report("html")


@pytest.fixture(scope="module")
def opened(browser: Any, page_file: Path) -> Iterator[Any]:
    """One page for all tests; its console, errors and requests are kept in `page.seen`."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.seen = []
    page.on("console", lambda message: page.seen.append(message.text))
    page.on("pageerror", lambda error: page.seen.append(str(error)))
    page.on("request", lambda request: page.seen.append(request.url))
    page.goto(page_file.as_uri())
    yield page
    page.close()


@pytest.fixture
def watched(opened: Any) -> Iterator[Any]:
    """The page as it opens: what a test unfolded is folded again, what it chose is chosen no more."""
    yield opened
    opened.evaluate("for (const part of document.querySelectorAll('details[open]')) part.open = false")
    opened.locator("#pick-split").select_option("")
    opened.locator("#pick-words").fill("")


def test_unfolds_quietly_and_alone_at_any_width(opened: Any, page_file: Path) -> None:
    assert opened.locator("h1").inner_text().startswith("RAG를 쓰면 정답률이")
    opened.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
    for width in (360, 800, 1280):
        opened.set_viewport_size({"width": width, "height": 900})
        assert opened.evaluate("document.documentElement.scrollWidth") == width
        assert opened.locator("svg.figure:visible").count() == 4
        for scheme in ("dark", "light"):
            opened.emulate_media(color_scheme=scheme)
            background = opened.evaluate("getComputedStyle(document.querySelector('main')).backgroundColor")
            assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    assert opened.seen == [page_file.as_uri()]
    opened.reload()  # sooner than folding hundreds of parts


def test_hostile_answers_stay_text(watched: Any) -> None:
    assert watched.evaluate("window.broken") is None
    assert watched.title() == "ml-qa-ko: RAG가 도움이 될까?"
    assert watched.locator("script").count() == 1
    assert watched.locator("img, iframe, object, embed, link, main a:not([href^='#'])").count() == 0
    shown = "\n".join(watched.locator(".answers p").all_text_contents())
    assert HOSTILE[0] in shown and HOSTILE[1] in shown and "{{ 7 * 7 }}" in shown
    assert "␛[31m빨간 글자␛[0m" in shown and "⟦U+202E⟧" in shown and "⟦U+D800⟧" in shown


def test_a_question_opens_to_its_answers_prompts_and_passages(watched: Any) -> None:
    question = watched.locator("details.question[data-split=seen]").first
    assert not question.locator(".answers").first.is_visible()
    question.locator("summary").first.click()
    assert question.locator(".answers li").count() == 8 * 4
    assert question.locator(".answers").first.is_visible()
    prompt = question.locator("details.prompt", has_text="rag-sft.oracle")
    prompt.locator("summary").click()
    assert "(제공된 정보)" in prompt.locator("pre").inner_text()
    assert "0.873" in prompt.inner_text()


def test_questions_go_from_worst_to_best_and_are_filtered(watched: Any) -> None:
    shares = watched.locator(".question").evaluate_all(
        "rows => rows.map(row => row.querySelectorAll('.cell')[5].textContent)"
    )
    values = [int(share[0]) for share in shares]
    assert len(values) == 58 and values == sorted(values) and values[0] < values[-1]
    watched.locator("#pick-split").select_option("absent")
    assert watched.locator(".question:visible").count() == 8
    watched.locator("#pick-split").select_option("")
    watched.locator("#pick-words").fill("f1 score")
    assert watched.locator(".question:visible").count() == 3


def test_figures_are_saved_as_whole_svg(watched: Any, tmp_path: Path) -> None:
    for name in ("lifts", "arms", "training", "behaviour-absent"):
        with watched.expect_download() as download:
            watched.locator(f"figure[data-figure={name}] button.save").click()
        assert download.value.suggested_filename == f"{name}.svg"
        download.value.save_as(tmp_path / name)
        root = ElementTree.parse(tmp_path / name).getroot()
        tags = [child.tag.partition("}")[2] for child in root]
        assert tags[:3] == ["style", "title", "desc"] and len(tags) > 10


def test_the_graders_stand_before_the_questions(watched: Any) -> None:
    trust = watched.locator("#trust")
    assert trust.locator("h2").inner_text() == "채점을 얼마나 믿을 수 있나"
    assert trust.locator(".pair").count() == 4 and trust.locator("ol.differing").count() == 2
    assert trust.locator("h2, h3").nth(1).inner_text().startswith("채점이 엇갈린 답변")
    assert trust.locator(".estimates tbody tr").count() == 2
    assert "보정하면" in watched.locator("header .doubts").inner_text()
    assert watched.evaluate("document.querySelector('#trust').compareDocumentPosition(questions) & 4") == 4


def test_many_arms_and_seeds_scroll_inside_their_table(browser: Any, small_file: Path) -> None:
    page = browser.new_page(viewport={"width": 360, "height": 800})
    page.goto(small_file.as_uri())
    assert page.locator(".question .cell").first.inner_text().endswith("/12")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.close()


def test_page_says_the_same_without_scripts(browser: Any, small_file: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(small_file.as_uri())
    page.locator("details.question summary").first.click()
    assert page.locator(".question[open] .answers").first.is_visible()
    assert page.locator("button.save:visible, .tools:visible").count() == 0
    context.close()


def test_policy_allows_nothing_but_the_page_itself(page_file: Path) -> None:
    text = page_file.read_text(encoding="utf-8")
    assert "default-src 'none'; style-src 'sha256-" in text.replace("&#39;", "'")
    assert "unsafe-inline" not in text and "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert " style=" not in text and " onclick=" not in text


def test_a_large_run_stays_small(tmp_path: Path) -> None:
    folder, experiment, config = write_run(tmp_path / "run", experiment=make_experiment(30, 40, 15))
    write_report(folder, experiment, config)
    page = folder.report("html").read_text(encoding="utf-8")
    assert len(page.encode()) < 4_000_000
    assert page.count('<ul class="answers">') == 85 * 8


def test_a_huge_run_leaves_the_best_questions_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "ANSWER_BUDGET", 60_000)
    monkeypatch.setattr(html, "MOST_QUESTIONS", 20)
    folder, experiment, config = write_run(tmp_path / "run", "en", experiment=make_experiment(30, 0, 0))
    write_report(folder, experiment, config)
    page = folder.report("html").read_text(encoding="utf-8")
    assert len(page.encode()) < 300_000
    assert "more questions are left out of this page" in page and "10 more questions are in table.csv" in page


def test_hostile_questions_passages_and_names_are_escaped(tmp_path: Path) -> None:
    experiment = make_experiment(3, 0, 0)
    strange = "</script><script>window.broken = true</script>"
    passages = tuple(replace(passage, text=strange + passage.text) for passage in experiment.passages)
    questions = tuple(replace(q, question=f"{strange} {q.question}", reference=strange) for q in experiment.questions)
    experiment = replace(experiment, passages=passages, questions=questions, passage_by_id={})
    folder, experiment, config = write_run(tmp_path / "run", experiment=experiment)
    write_report(folder, experiment, config)
    page = folder.report("html").read_text(encoding="utf-8")
    assert page.count("<script>") == 1 and page.count("</script>") == 1
    assert "&lt;/script&gt;&lt;script&gt;window.broken" in page
    assert TEXT.format(0) in page
