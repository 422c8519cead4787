"""Words for the lexical search."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest

from raglift.retrieval.names import NameTable
from raglift.retrieval.tokens import find_names, find_synonyms, join_tokens, list_tokens


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("PR-AUC는 뭐야?", "pr-auc"),
        ("F1이 좋은 이유", "f1"),
        ("IoU가 높으면?", "iou"),
        ("t-SNE로 그려 봤어", "t-sne"),
        ("0.5보다 크면", "0.5"),
        ("C++에서는", "c++"),
        ("재현율이 낮아", "재현율"),
        ("정밀도와 달리", "정밀도"),
        ("디비스캔에서는", "디비스캔"),
        ("정규화했어", "정규화"),
        ("교차 검증은", "교차검증"),
        ("교차검증은", "교차검증"),
        ("ＰＲ-ＡＵＣ는", "pr-auc"),
    ],
)
def test_terms_stand_whole_without_their_particles(text: str, term: str) -> None:
    assert term in list_tokens(text)


def test_particles_and_endings_are_no_words() -> None:
    assert not {"는", "이", "야", "?", "은"} & set(list_tokens("PR-AUC는 재현율이 높은 모델이야?"))


def test_decomposed_hangul_gives_the_same_words() -> None:
    text = "재현율이랑 정밀도의 차이"
    assert list_tokens(unicodedata.normalize("NFD", text)) == list_tokens(text)


def test_emoji_and_empty_texts_have_no_words() -> None:
    assert list_tokens("😊😊") == list_tokens("") == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Recall (재현율) : 찾아낸 비율", ["Recall", "재현율"]),
        ("True Positive (TP, 참 양성) : 개수", ["True Positive", "TP", "참 양성"]),
        ("정규화 : 값을 바꾸는 것 (예: min-max)", ["정규화"]),
        ("서울은 대한민국의 수도이다.", []),
    ],
)
def test_names_are_read_from_the_head(text: str, names: list[str]) -> None:
    assert find_names(text) == names


def test_synonyms_are_korean_english_pairs_only() -> None:
    assert find_synonyms("모델의 정밀도(precision)는 IoU (0.5) 와 다르다") == [
        (join_tokens("정밀도"), "precision")
    ] or (("정밀도", "precision") in find_synonyms("정밀도(precision)는 IoU (0.5) 와 다르다"))
    assert find_synonyms("IoU (0.5) 와 값 (3)") == []


def test_name_scores_prefer_the_whole_name() -> None:
    names = [["pr-auc pr auc"], ["roc-auc roc auc"], ["재현 재현율"], []]
    scores = NameTable(names).score("PR-AUC는 뭐야?")
    assert int(np.argmax(scores)) == 0
    assert scores[0] == pytest.approx(1.0)
    assert 0 < scores[1] < 0.3
    assert scores[2] == scores[3] == 0


def test_a_question_without_known_words_names_nothing() -> None:
    assert not NameTable([["recall"]]).score("양자 컴퓨터가 뭐야?").any()
    assert NameTable([]).score("재현율").shape == (0,)
