"""The threshold of a search that was not tuned."""

from __future__ import annotations

from pathlib import Path

import pytest

from raglift.config import RetrievalConfig
from raglift.records import Example
from raglift.retrieval.calibration import CALIBRATION_FILE, FEWEST, calibrate_threshold
from raglift.retrieval.index import Index, build_index
from raglift.retrieval.opening import open_retriever
from raglift.retrieval.search import IndexRetriever
from raglift.retrieval.tuned import TunedRetriever
from raglift.runfolder import recover_lines, seal_line
from retrieval_fixture import PASSAGES, LetterEmbedder

NAMES = [passage.text.split(" : ")[0] for passage in PASSAGES]
EXAMPLES = [
    Example(ask.format(name), "", passage.id)
    for ask in ("{} 뭐야?", "{} 알려 줘", "{} 궁금해")
    for name, passage in zip(NAMES, PASSAGES, strict=True)
]


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return build_index(PASSAGES, LetterEmbedder(), tmp_path / "index")


def test_the_threshold_keeps_training_questions_and_turns_away_others(index: Index, tmp_path: Path) -> None:
    threshold = calibrate_threshold(IndexRetriever(index, RetrievalConfig()), EXAMPLES, tmp_path)
    retriever = IndexRetriever(index, RetrievalConfig(), None, threshold)
    assert retriever.threshold == threshold is not None
    kept = [bool(found) for found in retriever.search([example.question for example in EXAMPLES], 1)]
    assert sum(kept) >= 0.95 * len(kept)
    assert retriever.search(["abcdefghijklmnop"], 3) == [[]]


def test_it_is_kept_until_questions_or_passages_change(
    index: Index, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    retriever = IndexRetriever(index, RetrievalConfig())
    first = calibrate_threshold(retriever, EXAMPLES, tmp_path)
    file = tmp_path / CALIBRATION_FILE
    (row,) = recover_lines(file)
    file.write_bytes(seal_line({**row, "threshold": 0.5}))
    assert calibrate_threshold(retriever, list(reversed(EXAMPLES)), tmp_path) == 0.5
    assert calibrate_threshold(retriever, EXAMPLES[:-1], tmp_path) != 0.5
    whole = file.read_text()
    for damaged in ("{", whole[:-9], whole.replace('"threshold": ', '"threshold": 1')):
        file.write_text(damaged)
        assert calibrate_threshold(retriever, EXAMPLES, tmp_path) == first
        assert "is damaged" in capsys.readouterr().err


def test_it_is_left_open_where_it_would_not_be_sound(index: Index, tmp_path: Path) -> None:
    plain = RetrievalConfig()
    tuned = TunedRetriever("letters", "hybrid", 0.2, 0.1, None)
    assert calibrate_threshold(IndexRetriever(index, plain), EXAMPLES[: FEWEST - 1], tmp_path) is None
    assert calibrate_threshold(IndexRetriever(index, plain, tuned), EXAMPLES, tmp_path) is None
    for search in ("lexical", "hybrid-rrf"):
        assert calibrate_threshold(IndexRetriever(index, RetrievalConfig(search=search)), EXAMPLES, tmp_path) is None


@pytest.mark.parametrize(("threshold", "expected"), [(0.3, 0.3), (None, None)])
def test_the_settings_threshold_comes_first(tmp_path: Path, threshold: float | None, expected: float | None) -> None:
    settings = RetrievalConfig(threshold=threshold)
    retriever = open_retriever(PASSAGES, settings, tmp_path / "index", tmp_path / "tuned", examples=EXAMPLES)
    assert retriever.threshold == expected
    assert not (tmp_path / "tuned").exists()
