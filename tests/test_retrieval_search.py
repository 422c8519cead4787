"""Questions in, passages out."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from raglift.config import RetrievalConfig
from raglift.errors import InputError
from raglift.records import Passage
from raglift.retrieval.embedders import load_embedder
from raglift.retrieval.evaluation import evaluate_retriever
from raglift.retrieval.index import Index, build_index
from raglift.retrieval.search import IndexRetriever
from retrieval_fixture import PASSAGES, LetterEmbedder, make_question

PARTICLES = [  # term, particle, rest of the question, passage
    ("PR-AUC", "는", " 언제 써?", "pr-auc"),
    ("ROC-AUC", "에서는", " 뭐가 x축이야?", "roc-auc"),
    ("F1", "이랑", " 정확도는 뭐가 달라?", "f1"),
    ("IoU", "가", " 1이면 무슨 뜻이야?", "iou"),
    ("t-SNE", "로는", " 뭘 할 수 있어?", "t-sne"),
    ("재현율", "이", " 뭐야?", "recall"),
    ("정밀도", "를", " 설명해 줘", "precision"),
    ("교차검증", "은", " 어떻게 해?", "cross-validation"),
    ("Z-Score", "까지", " 구하려면?", "z-score"),
    ("디비스캔", "에서", " 군집은 어떻게 생겨?", "dbscan"),
]
OTHERS = ("의", "하고", "만", "도", "보다", "부터", "처럼", "밖에", "마다", "조차")  # that any of the terms may carry


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return build_index(PASSAGES, LetterEmbedder(), tmp_path_factory.mktemp("letters"))


@pytest.fixture(scope="module")
def e5(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return build_index(PASSAGES, load_embedder("e5-small"), tmp_path_factory.mktemp("e5"))


def find_first(index: Index, question: str, search: str) -> str:
    return IndexRetriever(index, RetrievalConfig(search=search)).search([question], 1)[0][0].passage_id


@pytest.mark.parametrize("search", ["lexical", "hybrid"])
@pytest.mark.parametrize(("term", "particle", "rest", "right"), PARTICLES)
def test_terms_with_particles_are_found(
    e5: Index, term: str, particle: str, rest: str, right: str, search: str
) -> None:
    assert find_first(e5, term + particle + rest, search) == right


def test_every_term_is_found_behind_any_particle(letters: Index) -> None:
    retriever = IndexRetriever(letters, RetrievalConfig(search="lexical"))
    asked = [(f"{term}{particle} 뭐야?", right) for term, *_, right in PARTICLES for particle in OTHERS]
    found = retriever.search([question for question, _ in asked], 1)
    lost = [
        question
        for (question, right), rows in zip(asked, found, strict=True)
        if [r.passage_id for r in rows] != [right]
    ]
    assert lost == []


@pytest.mark.parametrize("search", ["dense", "lexical", "hybrid", "hybrid-rrf", "hybrid-linear"])
def test_decomposed_and_decorated_questions_find_the_same(e5: Index, search: str) -> None:
    retriever = IndexRetriever(e5, RetrievalConfig(search=search))
    plain, decomposed = retriever.search(["재현율이 뭐야?", unicodedata.normalize("NFD", "재현율이 뭐야?")], 5)
    assert plain == decomposed
    assert find_first(e5, "😊 재현율이 뭐야? 😊", search) == "recall"


def test_the_threshold_leaves_nothing_found(letters: Index) -> None:
    retriever = IndexRetriever(letters, RetrievalConfig(threshold=99.0))
    assert retriever.search(["재현율이 뭐야?"], 3) == [[]]
    assert len(retriever.rank(["재현율이 뭐야?"], 3)[0]) == 3


def test_scores_fall_and_k_is_kept(letters: Index) -> None:
    for search in ("dense", "hybrid"):
        (found,) = IndexRetriever(letters, RetrievalConfig(search=search)).search(["Recall 이 뭐야?"], 4)
        assert len(found) == 4
        assert [row.score for row in found] == sorted((row.score for row in found), reverse=True)
    assert len(IndexRetriever(letters, RetrievalConfig()).search(["Recall"], 99)[0]) == len(PASSAGES)


@pytest.mark.parametrize("question", ["", "   ", "\n"])
def test_an_empty_question_is_the_users_error(letters: Index, question: str) -> None:
    with pytest.raises(InputError, match="empty"):
        IndexRetriever(letters, RetrievalConfig()).search([question], 1)


@pytest.mark.parametrize("search", ["hybrid-rrf", "hybrid-linear"])
def test_the_librarys_fusions_see_vectors_and_words(letters: Index, search: str) -> None:
    retriever = IndexRetriever(letters, RetrievalConfig(search=search))
    (found,) = retriever.search(["PR-AUC는 뭐야?"], 3)
    assert found[0].passage_id == "pr-auc"
    assert [row.score for row in found] == sorted((row.score for row in found), reverse=True)
    assert len(retriever.search(["😊"], 2)[0]) == 2


def test_emoji_alone_and_unknown_words_do_not_fail(letters: Index) -> None:
    assert IndexRetriever(letters, RetrievalConfig(search="lexical")).search(["😊", "홍길동"], 2) == [[], []]
    assert len(IndexRetriever(letters, RetrievalConfig()).search(["😊"], 2)[0]) == 2


@pytest.mark.parametrize("search", ["lexical", "hybrid"])
def test_a_question_of_ten_thousand_letters(e5: Index, search: str, capsys: pytest.CaptureFixture[str]) -> None:
    long = "재현율이 뭐야? " + "가나다라 " * 2000
    assert len(long) > 10_000
    assert find_first(e5, long, search) == "recall"
    said = capsys.readouterr().err
    assert ("1 question(s) longer than the embedder's window of 512 tokens" in said) == (search == "hybrid")
    find_first(e5, "재현율이 뭐야?", search)
    assert not capsys.readouterr().err


def test_nul_and_lone_surrogates_do_not_fail(e5: Index) -> None:
    assert find_first(e5, "재현율이\0 뭐야? \ud800", "dense") == "recall"


def test_a_missing_model_is_the_users_error() -> None:
    with pytest.raises(InputError, match="e5-smal") as caught:
        load_embedder("no-such-folder/e5-smal")
    assert "e5-small" in caught.value.expected


def test_long_passages_are_embedded_whole(tmp_path: Path) -> None:
    embedder = load_embedder("e5-small")
    end = "재현율은 실제 양성 가운데 찾아낸 비율이다. "
    passages = [Passage("long", "날씨가 맑다. " * 20 + end * 40), Passage("other", "축구는 공을 차는 운동이다.")]
    index = build_index(passages, embedder, tmp_path)
    assert index.report is not None
    assert index.report.windowed == ("long",)
    assert find_first(index, "재현율이 뭐야?", "dense") == "long"


def test_identity_follows_what_changes_a_search(letters: Index) -> None:
    settings = [{}, {"search": "dense"}, {"weight": 0.5}, {"threshold": 0.1}]
    assert len({IndexRetriever(letters, RetrievalConfig(**one)).identity for one in settings}) == len(settings)


def test_figures_of_an_evaluation(letters: Index) -> None:
    questions = [
        make_question("a", PASSAGES[0].text, "pr-auc"),
        make_question("b", PASSAGES[5].text, "precision"),
        make_question("c", "홍길동", None),
    ]
    found = evaluate_retriever(IndexRetriever(letters, RetrievalConfig(search="lexical")), questions)
    assert found["hit_at_1"] == 0.5
    assert found["hit_at_3"] == 1.0
    assert 0.5 < found["mrr"] < 1
    assert found["rejected"] == 1.0
    assert found["wrongly_rejected"] == 0.0
    assert found["milliseconds_per_query"] > 0
    assert evaluate_retriever(IndexRetriever(letters, RetrievalConfig()), [])["hit_at_1"] is None


def test_a_duplicate_of_the_right_passage_counts_as_right(tmp_path: Path) -> None:
    index = build_index([Passage("a", "같은 글이다"), Passage("b", "같은 글이다")], LetterEmbedder(), tmp_path)
    questions = [make_question("1", "같은 글", "a"), make_question("2", "같은 글", "b")]
    assert evaluate_retriever(IndexRetriever(index, RetrievalConfig(search="dense")), questions)["hit_at_1"] == 1.0
