"""Texts, numbers and sanitization of the report."""

from __future__ import annotations

import string
from pathlib import Path

import pytest

from raglift.report import numbers
from raglift.report.reasons import name_kind
from raglift.report.sentences import say_lift
from raglift.report.texts import TABLE, speak
from raglift.sanitization import (
    clean_cell,
    clean_line,
    clean_text,
    clean_values,
    escape_markdown,
    quote_code,
)

REPORT = Path(__file__).parents[1] / "src" / "raglift" / "report"


def list_slots(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("key", TABLE)
def test_english_and_korean_say_the_same_things(key: str) -> None:
    english, korean = TABLE[key]
    assert english.strip() and korean.strip()
    assert list_slots(english) == list_slots(korean)


def test_every_text_is_said_somewhere() -> None:
    sources = [file for file in REPORT.iterdir() if file.suffix in (".py", ".html")]
    code = "".join(file.read_text(encoding="utf-8") for file in sources if not file.name.startswith("texts"))
    parts = ("verdict", "split", "tuning", "context", "effect", "behaviour", "retrieval", "variance")
    parts += ("limits", "training", "reason")
    built = (*(f"{part}." for part in parts), "word.incorrect", "word.unscored")
    unused = [key for key in TABLE if f"{key}'" not in code and f'{key}"' not in code]
    assert [key for key in unused if not key.startswith(built)] == []


def test_language_chooses_the_text_and_unknown_ones_are_english() -> None:
    assert speak("ko")("word.question") == "질문"
    assert speak("en")("word.question") == speak("fr")("word.question") == "Question"


def test_one_is_singular() -> None:
    say = speak("en")
    assert say("headline.basis.table", questions="1", differing="1") == "1 question; 1 differs between the two."
    assert say("headline.basis.table", questions="0", differing="2") == "0 questions; 2 differ between the two."
    assert say("limits.truncated", count="1").startswith("1 answer reached the token limit and was cut off")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "␛[31mred␛[0m"),
        ("a\x00b\x7f\x9b", "a␀b␡⟦U+009B⟧"),
        ("\u202eabc\u2066", "⟦U+202E⟧abc⟦U+2066⟧"),
        ("\ud800", "⟦U+D800⟧"),
        ("one\r\ntwo\rthree", "one\ntwo␍three"),
        ("\ufeff\u200b\u2028", "⟦U+FEFF⟧⟦U+200B⟧⟦U+2028⟧"),
        ("가족 👨‍👩‍👧 코사인 😊\n\t표", "가족 👨‍👩‍👧 코사인 😊\n\t표"),
    ],
)
def test_controls_become_visible_and_the_rest_stays(text: str, shown: str) -> None:
    assert clean_text(text) == shown
    clean_text(text).encode("utf-8")


def test_values_are_cleaned_all_the_way_down() -> None:
    assert clean_values({"a\x00": [float("nan"), "\x1b", {"b": float("inf")}, 1.5]}) == {
        "a␀": [None, "␛", {"b": None}, 1.5]
    }


def test_markdown_cells_cannot_break_out() -> None:
    assert escape_markdown("a|b\n<script>`x`[y](z)") == r"a\|b \<script\>\`x\`\[y\](z)"
    assert quote_code("a`b|c\nd") == "`a′b¦c d`"
    assert clean_line(" a \n b\t") == "a b"


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_cells_never_start_a_formula(text: str) -> None:
    assert clean_cell(text).startswith("'")


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("must[0]: none of 're: a|b', … found (the answer was cut at its length limit)", "missing"),
        ("must[12]: denied, 'x'", "denied"),
        ("must_not[0]: says 'y'", "forbidden"),
        ("contradiction: gives another formula too", "contradiction"),
        ("the answer is empty (the answer was cut at its length limit)", "the answer is empty"),
        ("x" * 300, "x" * 100 + "…"),
    ],
)
def test_reasons_are_counted_by_kind(reason: str, kind: str) -> None:
    assert name_kind(reason) == kind


def test_plain_cells_stay() -> None:
    assert clean_cell("코사인 유사도 = ?") == "코사인 유사도 = ?"


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (numbers.format_accuracy(80.0), "80.0%"),
        (numbers.format_accuracy(-0.0), "0.0%"),
        (numbers.format_points(20), "+20.0"),
        (numbers.format_points(-7.46), "−7.5"),
        (numbers.format_points(-0.01), "0.0"),
        (numbers.format_interval([7.5, 34.2]), "[+7.5, +34.2]"),
        (numbers.format_interval([-0.0, 34.2], signed=False), "[0.0, 34.2]"),
        (numbers.format_p(0.015625), "0.015625"),
        (numbers.format_p(1.0), "1"),
        (numbers.format_p(0.00000763), "0.0000076"),
        (numbers.format_p(0.0), "< 0.000000001"),
        (numbers.format_cell(4, 4), "✅ 4 / 4"),
        (numbers.format_cell(3, 4), "⚠ 3 / 4"),
        (numbers.format_cell(2, 4), "⚠ 2 / 4"),
        (numbers.format_cell(1, 4), "❌ 1 / 4"),
        (numbers.format_cell(0, 0), "–"),
        (numbers.format_seconds(1.239), "1.24 s"),
        (numbers.format_seconds(412), "6 min 52 s"),
        (numbers.format_seconds(3 * 3600 + 120), "3 h 2 min"),
    ],
)
def test_numbers_as_they_are_written(shown: str, expected: str) -> None:
    assert shown == expected


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_what_is_not_estimable_is_a_dash(value: float | None) -> None:
    shown = {
        numbers.format_accuracy(value),
        numbers.format_points(value),
        numbers.format_p(value),
        numbers.format_seconds(value),
        numbers.format_count(value),
        numbers.format_decimal(value),
        numbers.format_interval([value, 1.0]),
        numbers.format_interval(None),
    }
    assert shown == {numbers.MISSING}


def test_what_could_not_be_estimated_is_left_out_of_the_sentence() -> None:
    little = {"lift": 66.7, "ci95": None, "p_value": None}
    assert say_lift(little, speak("ko")) == "향상 폭 +66.7 %p"
    assert say_lift({**little, "ci95": [7.5, 36.6], "p_value": 0.0156, "test": "exact"}, speak("en")).startswith(
        "Lift +66.7 points · 95% interval [+7.5, +36.6] · p-value 0.0156 ("
    )
