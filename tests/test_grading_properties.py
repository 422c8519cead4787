"""Layout never decides, and no text breaks or stalls the grader."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raglift.grading.normalization import read_letters
from raglift.grading.reading import Span, read_text
from raglift.grading.rubric import explain_rubric, grade_rubric
from raglift.grading.terms import load_terms
from raglift.records import Rubric

RUBRIC = Rubric(
    must=(
        ("formula: TP / (TP + FN)", "실제 양성 … 찾", "x축 … 재현율", "re: {recall}.{0,9}높"),
        ("재현율", "TP & FN", "re: 재현|비율"),
    ),
    must_not=("조화 평균", "formula: TP / (TP + FP)", "x축 … 정밀도", "re: {precision}.{0,5}낮"),
)
PIECES = [
    *("재현율은", "Recall 은", "TP / (TP + FN)", "TP / (TP + FP)", "실제 양성 중에서", "찾아낸 비율이야!"),
    *("이 아니라", "조화 평균", "x축이", "y축이", "정밀도", "True Positive 를", "−1.0", "으로 나눈 값"),
    *("TP와 FN의 합", "😊", "😊!", "높아.", "낮아지지 않아", "(", ")"),
]
answers = st.lists(st.sampled_from(PIECES), min_size=1, max_size=9).map(" ".join)
LAYOUTS = {
    "decomposed": lambda text: unicodedata.normalize("NFD", text),
    "upper": str.upper,
    "lower": str.lower,
    "wide spaces": lambda text: text.replace(" ", " \t "),
    "line ends": lambda text: text.replace(" ", "\n"),
    "hard spaces": lambda text: "\u00a0" + text.replace(" ", "\u00a0") + "\u3000",
    "invisible": "\u200b".join,
    "full width": lambda text: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text),
}


@settings(max_examples=60)
@given(answers)
def test_layout_does_not_decide(answer: str) -> None:
    expected = grade_rubric(RUBRIC, answer).verdict
    for name, layout in LAYOUTS.items():
        assert grade_rubric(RUBRIC, layout(answer)).verdict == expected, name


KOREAN = [
    "재현율은 실제 양성 중에서 찾아낸 비율이야!",
    "재현율이 x축, 정밀도가 y축이야",
    "TP를 TP와 FN의 합으로 나눈 비율이야",
    "TP / (TP + FP)로 계산해",
    "재현율이 아니라 조화 평균이야",
]


@pytest.mark.parametrize("answer", KOREAN)
def test_no_space_at_all_does_not_decide(answer: str) -> None:
    assert grade_rubric(RUBRIC, answer.replace(" ", "")).verdict == grade_rubric(RUBRIC, answer).verdict


any_text = st.text(st.characters(), max_size=200) | st.lists(
    st.sampled_from(
        [*PIECES, "\0", "\ud800", "\u202e", "\\frac{", "^", "|", "분의", "두 값의 합", "2", "…", "e\u0301"]
    ),
    max_size=40,
).map("".join)


@settings(max_examples=150)
@given(any_text)
def test_no_text_raises(answer: str) -> None:
    result = grade_rubric(RUBRIC, answer, "재현율이 뭐야?", "Recall (재현율)")
    assert result.verdict in ("correct", "incorrect")
    assert result.reason
    for row in explain_rubric(RUBRIC, answer, "재현율이 뭐야?"):
        for words, (start, end) in zip(row.words, row.places, strict=False):
            assert words in read_letters(answer).source[start:end]


@settings(max_examples=100)
@given(any_text)
def test_every_sign_knows_its_place(answer: str) -> None:
    reading = read_text(answer, load_terms())
    assert len(reading.place) == len(reading.text) + 1
    assert list(reading.place) == sorted(reading.place)
    for start in range(len(reading.text)):
        reading.quote(Span(start, start + 1))


@pytest.mark.parametrize(
    "piece",
    [
        *("a", "TP/(TP+FN) ", "(", "TP와 FN의 합과 ", "x축 재현율 ", "1+", "tpfn", "\\frac{1}{", "\0", "\ud800"),
        *("\u202e재현율", "9", "재현율이 아니라 ", "9^9^", "|a|", "e\u0301", "실제 양성 찾 "),
    ],
)
def test_a_million_characters_end_soon(piece: str) -> None:
    answer = piece * (1_000_000 // len(piece))
    start = time.process_time()
    grade_rubric(RUBRIC, answer)
    assert time.process_time() - start < 5.0


def test_one_hundred_grades_are_quick() -> None:
    """20 ms on an idle core; ten times that here, for machines that are busy."""
    texts = [f"{answer} {number}" for number in range(20) for answer in KOREAN]
    for answer in KOREAN:
        grade_rubric(RUBRIC, answer)
    best = min(_time_of(texts) for _ in range(5))
    assert best < 0.2


def _time_of(texts: list[str]) -> float:
    start = time.process_time()
    for text in texts:
        grade_rubric(RUBRIC, text)
    return time.process_time() - start
