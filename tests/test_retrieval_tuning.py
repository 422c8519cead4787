"""Tuning: the gradient, what is kept, what is chosen, what is saved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from raglift.config import RetrievalConfig
from raglift.errors import InputError
from raglift.records import Example, Passage
from raglift.retrieval import adapter
from raglift.retrieval.adapter import Pairs, Source, apply_adapter, compute_gradient, train_adapter
from raglift.retrieval.embedders import Vectors, normalize_rows
from raglift.retrieval.evaluation import evaluate_retriever
from raglift.retrieval.heldout import HeldOut, choose_threshold
from raglift.retrieval.index import build_index
from raglift.retrieval.opening import open_retriever, tune_retriever
from raglift.retrieval.search import IndexRetriever
from raglift.retrieval.tuned import SETTINGS_FILE, TunedRetriever, load_tuned, save_tuned
from raglift.retrieval.tuning import decide, describe_tuning, prepare_task, tune_adapter
from retrieval_fixture import PASSAGES, LetterEmbedder, read_databases


def draw(rows: int, seed: int, dimensions: int = 16) -> Vectors:
    return normalize_rows(np.random.default_rng(seed).standard_normal((rows, dimensions)).astype(np.float32))


def test_the_gradient_is_that_of_the_loss() -> None:
    pool, batch = draw(9, 0), Pairs(draw(4, 1), np.array([3, 0, 8, 3]))
    weights, adjustment = draw(16, 2) * 0.3, np.linspace(-1, 1, 9).astype(np.float32)

    def measure_loss(matrix: Vectors) -> float:
        logits = apply_adapter(matrix, batch.vectors).astype(np.float64) @ pool.T.astype(np.float64)
        logits = logits / adapter.TEMPERATURE + adjustment
        right = logits[np.arange(4), batch.targets]
        top = logits.max(axis=1)
        return float((np.log(np.exp(logits - top[:, None]).sum(axis=1)) + top - right).mean())

    gradient = compute_gradient(weights, batch, pool, adjustment)
    for row, column in [(0, 0), (3, 7), (15, 2)]:
        step = np.zeros_like(weights)
        step[row, column] = 1e-2
        slope = (measure_loss(weights + step) - measure_loss(weights - step)) / 2e-2
        assert gradient[row, column] == pytest.approx(slope, rel=0.03, abs=0.02)


def test_an_adapter_learns_a_turned_space() -> None:
    pool, all_rows = draw(60, 0, 64), np.arange(60)
    noise = 3 * np.random.default_rng(5).standard_normal((64, 64)).astype(np.float32) / 8
    questions = normalize_rows(pool + pool @ noise + 0.2 * draw(60, 3, 64))
    train = all_rows[:45]
    before = (questions @ pool.T).argmax(axis=1) == all_rows
    weights = train_adapter([Source(Pairs(questions[train], train), 1.0)], pool, seed=0)
    after = (apply_adapter(weights, questions) @ pool.T).argmax(axis=1) == all_rows
    assert before[train].mean() < 0.95
    assert after[train].mean() == 1.0
    assert after[45:].mean() >= before[45:].mean()


def test_training_repeats_by_its_seed() -> None:
    sources = [Source(Pairs(draw(20, 1), np.arange(20)), 1.0)]
    pool = draw(20, 0)
    assert (train_adapter(sources, pool, 3) == train_adapter(sources, pool, 3)).all()
    assert (train_adapter(sources, pool, 3) != train_adapter(sources, pool, 4)).any()


def test_what_does_not_help_is_not_kept(tmp_path: Path) -> None:
    index = build_index(PASSAGES, LetterEmbedder(), tmp_path)
    examples = [Example(passage.text, "", passage.id) for passage in PASSAGES]  # found already
    tuned = tune_adapter(index, examples, RetrievalConfig())
    assert tuned.matrix is None
    assert tuned.figures["kept"] is False
    assert "not kept" in describe_tuning(tuned)
    assert tuned.threshold is not None


@pytest.mark.parametrize(
    ("right", "before", "after", "kept"),
    [
        ("more first", [0.5, 0.3, 0.5], [0.9, 0.8, 0.9], True),
        ("as many first, the other higher", [0.9, 0.3, 0.9], [0.9, 0.5, 0.9], True),
        ("the same", [0.9, 0.3, 0.9], [0.8, 0.3, 0.8], False),
        ("fewer first, the others higher", [0.9, 0.3, 0.3], [0.5, 0.5, 0.5], False),
    ],
)
def test_hit_at_1_decides_and_mrr_when_it_ties(
    tmp_path: Path, right: str, before: list[float], after: list[float], kept: bool
) -> None:
    """Each question's right passage stands among three others at 0.6, 0.4 and 0.2."""
    index = build_index(PASSAGES, LetterEmbedder(), tmp_path)
    task = prepare_task(index, [Example("뭐야?", "", p.id) for p in PASSAGES], RetrievalConfig(), 0)

    def score(values: list[float]) -> HeldOut:
        rows = np.array([[value, 0.6, 0.4, 0.2] for value in values], np.float32)
        targets = np.zeros(len(values), np.int64)
        return HeldOut(rows, targets, targets[:, None])

    decided = decide("letters", "hybrid", task, score(before), score(after), 0.4)
    assert decided.figures["kept"] is kept, right
    assert decided.weight == (0.4 if kept else task.default_weight)
    assert ("not kept" in describe_tuning(decided)) is not kept


@pytest.mark.parametrize(
    ("settings", "count", "found"),
    [({}, 4, "4 "), ({"search": "lexical"}, 10, "lexical"), ({"search": "hybrid-rrf"}, 10, "hybrid-rrf")],
)
def test_what_cannot_be_tuned_is_the_users_error(
    tmp_path: Path, settings: dict[str, str], count: int, found: str
) -> None:
    index = build_index(PASSAGES, LetterEmbedder(), tmp_path)
    examples = [Example("뭐야?", "", passage.id) for passage in PASSAGES[:count]]
    with pytest.raises(InputError, match=found):
        tune_adapter(index, examples, RetrievalConfig(**settings))


def test_the_threshold_lies_between_answerable_and_not() -> None:
    right, wrong = np.linspace(0.5, 0.9, 50, dtype=np.float32), np.linspace(0.1, 0.3, 50, dtype=np.float32)
    assert 0.3 < choose_threshold(right, wrong) < 0.5
    assert choose_threshold(right, right + 1) <= np.quantile(right, 0.1)
    odd = np.concatenate([right, [0.11]])  # one training question that the search fails
    assert choose_threshold(odd, wrong) > 0.3


def test_the_neighbours_of_the_right_passage_stand_for_no_unanswerable_question() -> None:
    near = np.array([[0, 1]])
    scores = np.array([[0.9, 0.8, 0.2, 0.1]], np.float32)
    assert HeldOut(scores, np.array([0]), near).choose_threshold() == pytest.approx((0.9 + 0.2) / 2)
    assert HeldOut(scores[:, :2], np.array([0]), near).choose_threshold() == pytest.approx(0.45)


def test_saving_and_loading_keep_everything(tmp_path: Path) -> None:
    tuned = TunedRetriever("letters", "hybrid", 0.4, 0.12, draw(16, 0), figures={"kept": True})
    save_tuned(tuned, tmp_path)
    loaded = load_tuned(tmp_path, "letters")
    assert loaded is not None
    assert loaded.matrix is not None
    assert loaded.identity == tuned.identity
    assert (loaded.matrix == tuned.matrix).all()
    assert loaded.figures == {"kept": True}
    assert load_tuned(tmp_path, "other") is None
    assert load_tuned(tmp_path / "nowhere", "letters") is None


@pytest.mark.parametrize("content", ["{", "{}", '{"embedder": "letters", "adapted": true, "search": "dense"}'])
def test_a_damaged_tuned_retriever_is_said(tmp_path: Path, content: str) -> None:
    (tmp_path / SETTINGS_FILE).write_text(content)
    with pytest.raises(InputError, match="damaged"):
        load_tuned(tmp_path, "letters")


def test_tuned_parts_are_used_only_where_wanted(tmp_path: Path) -> None:
    index = build_index(PASSAGES, LetterEmbedder(), tmp_path)
    tuned = TunedRetriever("letters", "hybrid", 0.8, 0.5, None)
    assert IndexRetriever(index, RetrievalConfig(), tuned).threshold == 0.5
    assert IndexRetriever(index, RetrievalConfig(), tuned).weight == 0.8
    assert IndexRetriever(index, RetrievalConfig(threshold=0.1), tuned).threshold == 0.1
    assert IndexRetriever(index, RetrievalConfig(tuned=False), tuned).threshold is None
    assert IndexRetriever(index, RetrievalConfig(search="dense"), tuned).threshold is None


def test_figures_on_a_second_knowledge_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bars of the project, on a knowledge base beside the bundled one; development looked at both."""
    monkeypatch.setattr("raglift.retrieval.tuning.REPEATS", 1)  # for time; three repeats also keep it
    passages, examples, questions = read_databases()
    folders = tmp_path / "index", tmp_path / "retriever"
    untuned = open_retriever(passages, RetrievalConfig(), *folders, examples=examples)
    plain = evaluate_retriever(untuned, questions)
    assert plain["hit_at_1"] >= 0.92
    assert plain["hit_at_3"] >= 0.97
    assert plain["rejected"] >= 0.9
    assert plain["wrongly_rejected"] <= 0.05
    tuned = tune_retriever(passages, examples, RetrievalConfig(), *folders)
    retriever = open_retriever(passages, RetrievalConfig(), *folders)
    assert retriever.tuned is not None
    assert retriever.tuned.identity == tuned.identity
    figures = evaluate_retriever(retriever, questions)
    assert figures["hit_at_1"] >= 0.92
    assert figures["hit_at_3"] >= 0.98
    assert figures["rejected"] >= 0.9
    assert figures["wrongly_rejected"] <= 0.05


def test_a_large_pool_holds_right_and_near_passages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from raglift.retrieval import tuning

    monkeypatch.setattr(tuning, "POOL", 8)
    monkeypatch.setattr(tuning, "HARDEST", 2)
    others = [Passage(f"o{i}", f"{i} 번째 글") for i in range(20)]
    index = build_index([*PASSAGES, *others], LetterEmbedder(), tmp_path)
    examples = [Example(f"{passage.text[:12]} 뭐야?", "", passage.id) for passage in PASSAGES[:6]]
    task = tuning.prepare_task(index, examples, RetrievalConfig(), 0)
    names = [index.ids[row] for row in task.rows]
    assert len(names) < 20
    assert [names[target] for target in task.pairs.targets] == [example.passage_id for example in examples]
