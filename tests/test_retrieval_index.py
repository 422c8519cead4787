"""The index follows the knowledge base and says why it was rebuilt."""

from __future__ import annotations

import shutil
import unicodedata
from pathlib import Path

import pytest

from raglift.contexts import open_search
from raglift.errors import InputError
from raglift.records import Passage
from raglift.retrieval import index as index_module
from raglift.retrieval.embedders import EMBEDDERS
from raglift.retrieval.index import Index, build_index
from retrieval_fixture import PASSAGES, LetterEmbedder


def build(folder: Path, passages: list[Passage], name: str = "letters") -> tuple[Index, LetterEmbedder]:
    embedder = LetterEmbedder(name)
    return build_index(passages, embedder, folder), embedder


def test_only_changed_passages_are_embedded_again(tmp_path: Path) -> None:
    first, embedder = build(tmp_path / "index", PASSAGES)
    assert embedder.embedded == len(PASSAGES)
    again, embedder = build(tmp_path / "index", PASSAGES)
    assert embedder.embedded == 0
    assert again.identity == first.identity
    changed = [*PASSAGES[1:-1], Passage("f1", "F1 : 새 설명"), Passage("it's", "새 글")]
    changed = [p for i, p in enumerate(changed) if p.id != "f1" or i == len(changed) - 2]
    index, embedder = build(tmp_path / "index", changed)
    assert embedder.embedded == 2
    assert (index.report.embedded, index.report.kept, index.report.removed) == (2, len(changed) - 2, 2)
    assert index.identity != first.identity
    assert set(index.texts.items()) == {(p.id, p.text) for p in changed}
    assert index.search_tokens(["pr-auc"], 3) == []
    without, _ = build(tmp_path / "index", changed[:-1])
    assert "it's" not in without.texts


def test_identity_does_not_depend_on_history_or_order(tmp_path: Path) -> None:
    build(tmp_path / "a", PASSAGES[:5])
    grown, _ = build(tmp_path / "a", PASSAGES)
    fresh, _ = build(tmp_path / "b", PASSAGES[::-1])
    assert grown.identity == fresh.identity
    assert grown.ids == fresh.ids
    assert (grown.vectors == fresh.vectors).all()


def test_another_embedder_rebuilds_and_says_so(tmp_path: Path) -> None:
    first = build(tmp_path, PASSAGES)[0].identity
    second, embedder = build(tmp_path, PASSAGES, "other")
    assert embedder.embedded == len(PASSAGES)
    assert "embedder 'letters', now it is 'other'" in (second.report.rebuilt_because or "")
    assert "index built anew" in second.report.list_notices()[0]
    assert second.identity != first


def test_another_engine_of_the_same_embedder_rebuilds_and_says_so(tmp_path: Path) -> None:
    first = build(tmp_path, PASSAGES)[0].identity
    embedder = LetterEmbedder()
    embedder.identity = "letters/engine-2"
    second = build_index(PASSAGES, embedder, tmp_path)
    assert "embedder 'letters', now it is 'letters/engine-2'" in (second.report.rebuilt_because or "")
    assert second.identity != first


@pytest.mark.parametrize("harm", ["truncate", "delete", "foreign"])
def test_a_corrupted_index_is_rebuilt_and_says_so(tmp_path: Path, harm: str) -> None:
    folder = tmp_path / "index"
    build(folder, PASSAGES)
    if harm == "foreign":
        for file in sorted(folder.rglob("*"), reverse=True):
            file.unlink() if file.is_file() else file.rmdir()
        (folder / "something.txt").write_text("no index")
    for file in folder.rglob("*.lance"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:20]) if harm == "truncate" else file.unlink()
    index, embedder = build(folder, PASSAGES)
    assert embedder.embedded == len(PASSAGES)
    assert "cannot be read" in (index.report.rebuilt_because or "")
    assert index.search_tokens(["pr-auc"], 1)[0].passage_id == "pr-auc"


def test_a_lost_file_of_the_words_index_is_noticed(tmp_path: Path) -> None:
    build(tmp_path / "whole", PASSAGES)
    files = sorted((tmp_path / "whole").glob("passages.lance/_indices/*/*"))
    assert len(files) > 2
    for number, file in enumerate(files):
        copy = Path(shutil.copytree(tmp_path / "whole", tmp_path / str(number)))
        (copy / file.relative_to(tmp_path / "whole")).unlink()
        index, _ = build(copy, PASSAGES)
        assert "cannot be read" in (index.report.rebuilt_because or ""), file.name


@pytest.mark.parametrize("part", ["data", "_indices"])
def test_altered_bytes_are_noticed_by_their_checksum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], part: str
) -> None:
    monkeypatch.setitem(EMBEDDERS, "e5-small", LetterEmbedder)
    resolver = open_search("ml-qa-ko", tmp_path)
    whole = resolver.open_retriever().index.vectors
    assert "index is built again" not in capsys.readouterr().err
    file = max(resolver.folder.index.rglob(f"{part}/**/*.lance"), key=lambda file: file.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 3 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 3)
    file.write_bytes(content)
    index = open_search("ml-qa-ko", tmp_path).open_retriever().index
    assert (index.vectors == whole).all()
    assert index.search_tokens(["recall"], 1)
    said = capsys.readouterr().err
    assert f"{file.relative_to(tmp_path)} is damaged (its checksum differs): the index is built again" in said
    open_search("ml-qa-ko", tmp_path).open_retriever()
    assert "damaged" not in capsys.readouterr().err


def test_a_build_ended_before_its_last_step_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(index_module, "_index_columns", _interrupt)
        build(tmp_path / "index", PASSAGES)
    index, embedder = build(tmp_path / "index", PASSAGES)
    assert embedder.embedded == 0
    assert [found.columns for found in index.table.list_indices()] == [["tokens"]]


def _interrupt(_: object) -> None:
    raise KeyboardInterrupt


def test_long_passages_and_duplicates_are_said(tmp_path: Path) -> None:
    passages = [Passage("long", "긴 글 " * 40), Passage("a", "같은 글"), Passage("b", "같은 글")]
    index, _ = build(tmp_path, passages)
    assert index.report.windowed == ("long",)
    assert index.report.duplicates == (("a", "b"),)
    notices = " ".join(index.report.list_notices())
    assert "long" in notices
    assert "a, b" in notices


def test_an_empty_knowledge_base_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no passages"):
        build(tmp_path, [])


def test_an_id_that_stands_twice_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'a' stands twice"):
        build(tmp_path, [Passage("a", "하나"), Passage("a", "둘")])


def test_decomposed_text_is_no_change(tmp_path: Path) -> None:
    build(tmp_path, PASSAGES)
    decomposed = [Passage(p.id, unicodedata.normalize("NFD", p.text)) for p in PASSAGES]
    _, embedder = build(tmp_path, decomposed)
    assert embedder.embedded == 0


def test_progress_counts_passages(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    build_index(PASSAGES, LetterEmbedder(), tmp_path, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(PASSAGES), len(PASSAGES))


def test_a_name_finds_passages_that_use_its_translation(tmp_path: Path) -> None:
    passages = [*PASSAGES, Passage("note", "재현율이 낮으면 놓치는 것이 많다")]
    index, _ = build(tmp_path, passages)
    assert "재현율" in index.add_synonyms(["recall"])
    assert "recall" in index.add_synonyms(["재현", "재현율"])
    assert "note" in [row.passage_id for row in index.search_tokens(["recall"], 10)]


def test_a_large_index_searches_approximately(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from raglift.benchmarks.growth import bench_retrieval

    monkeypatch.setattr(index_module, "LARGE", 1000)
    (row,) = bench_retrieval([1500], tmp_path)
    assert row["passages"] == 1500
    assert row["recall_at_10"] >= 0.95
