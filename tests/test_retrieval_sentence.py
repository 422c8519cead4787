"""A sentence-transformers model as embedder, and its training, on a tiny random one."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from raglift.config import RetrievalConfig
from raglift.records import Example, Passage
from raglift.retrieval import sentence_training
from raglift.retrieval.embedders import SentenceTransformerEmbedder
from raglift.retrieval.index import build_index
from raglift.retrieval.opening import open_retriever, tune_retriever
from retrieval_fixture import PASSAGES

pytest.importorskip("sentence_transformers")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random two-layer BERT over letters, with mean pooling."""
    import torch
    from sentence_transformers import SentenceTransformer, models
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("tiny")
    letters = sorted({letter for passage in PASSAGES for letter in passage.text.lower()} - {" "})
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    torch.manual_seed(0)
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"), tokenize_chinese_chars=False, strip_accents=False)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder / "bert")
    tokenizer.save_pretrained(folder / "bert")
    module = models.Transformer(str(folder / "bert"), max_seq_length=64)
    SentenceTransformer(modules=[module, models.Pooling(32)], device="cpu").save(str(folder / "model"))
    return str(folder / "model")


def test_vectors_are_unit_rows_and_long_passages_are_averaged(tiny: str, tmp_path: Path) -> None:
    embedder = SentenceTransformerEmbedder(tiny)
    texts = [PASSAGES[0].text, "재현율 " * 60]
    vectors = embedder.embed_passages(texts)
    assert vectors.shape == (2, embedder.dimensions)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    index = build_index([Passage("a", texts[0]), Passage("b", texts[1])], embedder, tmp_path)
    assert index.report.windowed == ("b",)


def test_other_weights_in_the_same_folder_are_another_embedder(tiny: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny, folder)
    first = SentenceTransformerEmbedder(str(folder)).identity
    assert first == SentenceTransformerEmbedder(str(folder)).identity != str(folder)
    (weights,) = folder.rglob("*.safetensors")
    content = bytearray(weights.read_bytes())
    content[-4:] = np.float32(0.5).tobytes()
    weights.write_bytes(content)
    assert SentenceTransformerEmbedder(str(folder)).identity != first


def test_the_librarys_trainer_trains_and_the_model_is_used(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sentence_training, "LEARNING_RATE", 2e-3)
    monkeypatch.setattr(sentence_training, "FOLDS", 2)
    examples = [Example(f"{passage.text.split(' : ')[1]} 뭐야?", "", passage.id) for passage in PASSAGES]
    examples += [Example(f"{passage.text.split(' : ')[0]} 뭐야?", "", passage.id) for passage in PASSAGES]
    settings, folders = RetrievalConfig(embedder=tiny, search="dense"), (tmp_path / "index", tmp_path / "tuned")
    tuned = tune_retriever(PASSAGES, examples, settings, *folders)
    assert (
        tuned.figures["held_out_hit_at_1_after"] >= tuned.figures["held_out_hit_at_1_before"]
        or not (tuned.figures["kept"])
    )
    retriever = open_retriever(PASSAGES, settings, *folders)
    if tuned.figures["kept"]:
        assert retriever.index.embedder.name == f"{tiny}+{tuned.model}"
        assert "embedder" in (retriever.index.report.rebuilt_because or "")
    else:
        assert retriever.index.embedder.name == tiny
    assert retriever.rank(["재현율 뭐야?"], 1)[0]
