"""report.html: one self-contained file that opens from disk, runs no foreign text and asks the network for nothing."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from raglift import __version__
from raglift.report import numbers
from raglift.report.content import Content, ShownAnswer, ShownQuestion
from raglift.report.curves import draw_behaviour, draw_training
from raglift.report.figures import Figure, draw_arms, draw_forest
from raglift.report.reasons import name_kind, say_kind, say_reason
from raglift.report.sentences import list_limits, say_basis, say_test, say_verdict, say_verdict_of
from raglift.report.settings import list_run_facts
from raglift.report.texts import Say, say_split, say_verdict_word, speak
from raglift.report.trust import (
    list_confusion,
    list_corrected_facts,
    list_corrected_rows,
    list_verdicts,
    list_warnings,
    rank_pairs,
    say_alpha,
    say_corrected,
    say_pair,
)
from raglift.report.views import list_effects, list_hits, list_losses, name_losses

ANSWER_BUDGET = 3_000_000  # bytes of answers and prompts in the page; the worst questions come first
MOST_QUESTIONS = 2_000  # rows of the question table
PHONE_WIDTH = 19  # rem that the cells of a question have on the narrowest phone
MARKUP_SIZE = 260  # bytes around an answer, about
SHOWN_REASONS = 8  # for each arm
SHOWN_PLACES = 6  # question ids for each reason
OPEN_DIFFERENCES, SHOWN_DIFFERENCES = 4, 40  # answers on which graders differ: at once, and behind a click

_NUMBER = re.compile(r"(\[[^\]\s]+ [^\]\s]+\]|\S*\d\S*)")


@dataclass(frozen=True)
class QuestionRow:
    """A question as the page shows it; without `open` its answers are left out."""

    question: ShownQuestion
    cells: list[dict[str, Any]]
    open: bool


def write_html(content: Content) -> str:
    """The page as text."""
    say = speak(content.language)
    rows = list(_choose_rows(content))
    figures = _draw_figures(content, say)
    losses = list_losses(content.comparison)
    cell = 0.7 + 0.5 * max((len(cell["text"]) for row in rows for cell in row.cells), default=3)
    style = read_part("page.css") + f":root {{ --arms: {len(content.arms)}; --cell: {cell:.1f}rem; }}\n"
    figure_style, script = read_part("figure.css"), read_part("page.js")
    return fill_page(
        "page.html",
        language=content.language,
        title=say("title", name=content.experiment),
        content=content,
        comparison=content.comparison,
        compared=content.a != content.b,
        say=say,
        rows=rows,
        scrolls=cell * len(content.arms) > PHONE_WIDTH,
        figures=figures,
        style=Markup(style),
        figure_style=Markup(figure_style),
        script=Markup(script),
        policy=write_policy([style, figure_style], [script]),
        verdict=say_verdict(content.comparison, say),
        basis=say_basis(content.comparison, say),
        test=say_test(content.comparison.get("test"), say),
        corrected=say_corrected(content.comparison, say),
        warnings=list_warnings(content.comparison, say),
        limits=list_limits(content, say),
        facts=list_run_facts(content, say),
        effects=list_effects(content.comparison, say),
        hits=list(list_hits(content.comparison)),
        losses=losses,
        loss_names=name_losses(losses, say) if losses else [],
        behaviours=_list_behaviours(content, say),
        ordered_arms=_order_arms(content),
        left_out=sum(not row.open and bool(row.question.answers) for row in rows),
        hidden=len(content.questions) - len(rows),
        version=__version__,
    )


def fill_page(template: str, **parts: Any) -> str:
    """A page as text: one of this folder's templates with its parts, each of them escaped unless it is Markup."""
    page: str = _environment().get_template(template).render(parts)
    return page


def name_heat(share: float | None) -> str:
    """The colour class of a cell: none right, below half, in between, all right, nothing scored."""
    if share is None:
        return "hn"
    return "h0" if share == 0 else "h3" if share == 1 else "h1" if share < 0.5 else "h2"


def keep_numbers_whole(sentence: str) -> Markup:
    """A sentence whose numbers and intervals never break over two lines (`99.2%로` else does)."""
    parts = _NUMBER.split(sentence)
    wrapped = [
        Markup('<span class="whole">{}</span>').format(part) if odd % 2 else part for odd, part in enumerate(parts)
    ]
    return Markup("").join(wrapped)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("raglift", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        accuracy=numbers.format_accuracy,
        points=numbers.format_points,
        interval=numbers.format_interval,
        shares=lambda limits: numbers.format_interval(limits, signed=False),
        pvalue=numbers.format_p,
        seconds=numbers.format_seconds,
        count=numbers.format_count,
        decimal=numbers.format_decimal,
        unbroken=keep_numbers_whole,
    )
    environment.globals.update(
        tally=numbers.format_tally,
        cell=numbers.format_cell,
        split_name=say_split,
        verdict_word=say_verdict_word,
        name_verdict=say_verdict_of,
        name_kind=name_kind,
        say_kind=say_kind,
        say_reason=say_reason,
        rank_pairs=rank_pairs,
        say_pair=say_pair,
        say_alpha=say_alpha,
        list_confusion=list_confusion,
        list_corrected_rows=list_corrected_rows,
        list_corrected_facts=list_corrected_facts,
        list_verdicts=list_verdicts,
        differences_open=OPEN_DIFFERENCES,
        differences_shown=SHOWN_DIFFERENCES,
        group_answers=_group_answers,
        name_heat=name_heat,
        reason_limit=SHOWN_REASONS,
        place_limit=SHOWN_PLACES,
    )
    return environment


def read_part(name: str) -> str:
    """A file of the pages: a style or a script."""
    return files("raglift.report").joinpath(name).read_text(encoding="utf-8")


def write_policy(styles: Iterable[str], scripts: Iterable[str]) -> str:
    """Content security policy: only the page's own styles and script, by their hashes, and no network."""
    allowed = {"style-src": styles, "script-src": scripts}
    parts = [f"{name} " + " ".join(f"'sha256-{_hash(text)}'" for text in texts) for name, texts in allowed.items()]
    return "; ".join(["default-src 'none'", *parts, "base-uri 'none'", "form-action 'none'"])


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _choose_rows(content: Content) -> Iterable[QuestionRow]:
    """Questions from worst to best; answers are shown until the budget is used up."""
    left = ANSWER_BUDGET
    for question in content.rank_questions()[:MOST_QUESTIONS]:
        size = _measure_question(question)
        shown = bool(question.answers) and size <= left
        left -= size if shown else 0
        yield QuestionRow(question, [_heat_cell(question, arm) for arm in content.arms], shown)


def _measure_question(question: ShownQuestion) -> int:
    texts = [*question.prompts, question.passage, question.reference]
    size = sum(len(text.encode()) + MARKUP_SIZE for text in texts)
    return size + sum(
        len(answer.text.encode()) + len(answer.reason.encode()) + MARKUP_SIZE for answer in question.answers
    )


def _heat_cell(question: ShownQuestion, arm: str) -> dict[str, Any]:
    counts, share = question.arms.get(arm) or {}, question.take_share(arm)
    text = "–" if share is None else f"{counts['correct']}/{counts['total']}"
    return {"arm": arm, "heat": name_heat(share), "text": text}


def _order_arms(content: Content) -> list[str]:
    """The compared arms first, those without an accuracy last."""
    return list(dict.fromkeys((content.b, content.a, *content.arms, *content.trials)))


def _group_answers(question: ShownQuestion, arms: Iterable[str]) -> list[tuple[str, list[ShownAnswer]]]:
    return [(arm, answers) for arm in arms if (answers := question.list_answers(arm))]


def _draw_figures(content: Content, say: Say) -> dict[str, Figure | None]:
    return {
        "lifts": draw_forest(content, say),
        "arms": draw_arms(content, say),
        "training": draw_training(content, say),
    }


def _list_behaviours(content: Content, say: Say) -> list[tuple[str, Figure]]:
    kinds = content.comparison.get("behaviour") or {}
    return [(kind, figure) for kind in kinds if (figure := draw_behaviour(content, kind, say))]
