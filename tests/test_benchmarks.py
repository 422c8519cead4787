"""The benchmarks run, count what they say they count, and refuse what they do not know. No timing is asserted."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from raglift.benchmarks import training as bench
from raglift.benchmarks.answering import bench_answering, generate
from raglift.benchmarks.matrix_peak import measure_matrix_peak
from raglift.benchmarks.training import bench_shape, bench_training, count_operations
from raglift.benchmarks.workload import load_workload
from raglift.config import Config, LoraConfig
from raglift.errors import InputError
from raglift.progress import show_progress


def test_peak_is_measured() -> None:
    assert measure_matrix_peak(torch.float32, torch.device("cpu")) > 1e8


def test_training_beside_trl(tiny_experiment: Path) -> None:
    work = load_workload(str(tiny_experiment), [])
    rows = work.encode_rows()
    assert len(rows) == 5
    with show_progress("train", 12) as bar:
        figures = bench_training(work.loaded, work.config, rows, rounds=2, steps=3, bar=bar)
    assert figures["steps"] == 4, "the first step of a block is not counted"
    assert figures["ratio"] == pytest.approx(figures["plain_seconds_per_step"] / figures["seconds_per_step"], rel=0.3)
    assert not any("lora" in name for name, _ in work.loaded.model.named_modules()), "the base is as it was"


def test_answering_beside_generate(tiny_experiment: Path) -> None:
    work = load_workload(str(tiny_experiment), ["answer.max_new_tokens=6", "answer.samples=2"])
    decoding = work.config.answer.model_copy(update={"stop": "token"})
    prompts = work.write_prompts()
    assert len(prompts) == 5
    with show_progress("answer", 3) as bar:
        figures = bench_answering(work.loaded, prompts, decoding, rounds=1, alone=2, bar=bar)
    assert figures["answers"] == 10
    assert 0 < figures["tokens_per_answer"] <= 6
    assert 0 < generate(work.loaded, prompts[:1], decoding) <= 12


def test_operations_of_a_step_by_hand(tiny_experiment: Path) -> None:
    work = load_workload(str(tiny_experiment), [])
    config = work.config.model_copy(update={"lora": LoraConfig(rank=2, targets=("q_proj",))})
    layer = work.loaded.model.model.layers[0].self_attn.q_proj
    layers = len(work.loaded.model.model.layers)
    row = {"input_ids": [1] * 10, "labels": [-100] * 7 + [1] * 3}
    frozen, trained = layer.weight.numel() * layers, 2 * (layer.in_features + layer.out_features) * layers
    head = work.loaded.model.get_output_embeddings().weight.numel()
    expected = config.train.batch_size * (10 * (4 * frozen + 6 * trained) + 3 * 4 * head)
    assert count_operations(work.loaded, config, [row]) == expected


def test_a_published_shape_with_random_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import LlamaConfig

    small = LlamaConfig(
        vocab_size=1200, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        tie_word_embeddings=True,
    )  # fmt: skip
    monkeypatch.setitem(bench.SHAPES, "small", lambda: small)
    with show_progress("train", 2) as bar:
        figures = bench_shape("small", Config(name="x", precision="float32"), steps=2, bar=bar)
        assert figures["model"] == "small"
        assert figures["ratio"] is None
        with pytest.raises(InputError, match="one of kanana"):
            bench_shape("kanana-9b", Config(name="x"), steps=2, bar=bar)
