"""The index on object storage: the same search as in a folder, and clear errors."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from object_store_fixture import ObjectStore, describe_access, run_object_store
from raglift.config import Config, RetrievalConfig
from raglift.errors import InputError
from raglift.experiment import index_passages, open_run
from raglift.records import Passage
from raglift.retrieval.index import build_index
from retrieval_fixture import PASSAGES, LetterEmbedder


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    with run_object_store() as opened:
        use_store(monkeypatch, opened.url)
        yield opened


def use_store(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    for name, value in describe_access(url).items():
        monkeypatch.setenv(name, value)


def test_the_index_lies_in_a_bucket(store: ObjectStore, tmp_path: Path) -> None:
    here, embedder = build_index(PASSAGES, LetterEmbedder("letters"), tmp_path), LetterEmbedder("letters")
    there = build_index(PASSAGES, embedder, "s3://bucket/my/index")
    assert store.objects and all(name.startswith("bucket/my/index/passages.lance/") for name in store.objects)
    assert there.identity == here.identity and (there.vectors == here.vectors).all()
    assert there.search_tokens(["pr-auc"], 3) == here.search_tokens(["pr-auc"], 3) != []
    changed = [*PASSAGES[1:], Passage("new", "새 글")]
    embedder = LetterEmbedder("letters")
    report = build_index(changed, embedder, "s3://bucket/my/index").report
    assert embedder.embedded == 1 and report is not None and (report.embedded, report.removed) == (1, 1)
    before = dict(store.objects)
    with pytest.raises(InputError, match="embedder 'letters', now it is 'other'"):
        build_index(changed, LetterEmbedder("other"), "s3://bucket/my/index")
    assert store.objects == before, "what others may use is not built anew"


def test_a_run_searches_an_index_in_a_bucket(store: ObjectStore, tiny_experiment: Path, tmp_path: Path) -> None:
    settings = ["arms=sft.none,base.retrieved,rag-sft.oracle", "retrieval.search=lexical"]
    plain = open_run(str(tiny_experiment), tmp_path / "plain", settings)
    index_passages(plain)
    run = open_run(str(tiny_experiment), tmp_path / "run", [*settings, "retrieval.index=s3://bucket/tiny"])
    index_passages(run)
    assert store.objects and not run.folder.index.exists()
    assert run.contexts.ranking == plain.contexts.ranking


def test_a_store_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # nobody listens
        use_store(monkeypatch, f"http://127.0.0.1:{unused.getsockname()[1]}")
        monkeypatch.setattr("raglift.retrieval.index.PATIENCE", {"client_max_retries": "0"})
        with pytest.raises(InputError, match=r"retrieval\.index: s3://bucket/x.*(?s:.*)refused"):
            build_index(PASSAGES, LetterEmbedder("letters"), "s3://bucket/x")


def test_addresses_that_are_none_and_offline(
    monkeypatch: pytest.MonkeyPatch, tiny_experiment: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="index"):
        Config(name="x", retrieval=RetrievalConfig(index="bucket/path"))
    run = open_run(str(tiny_experiment), tmp_path / "run", ["retrieval.index=s3://bucket/x"])
    monkeypatch.setenv("RAGLIFT_OFFLINE", "1")
    with pytest.raises(InputError, match="RAGLIFT_OFFLINE"):
        run.contexts.locate_index()
