"""Models that transformers itself would not load as they are published."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from raglift.benchmarks.training import SHAPES
from raglift.config import AnswerConfig, Config
from raglift.errors import InputError
from raglift.models.generation import LocalModel
from raglift.models.loading import accept_head_widths, load_model, read_window


def change_heads(tiny_model: Path, folder: Path, **heads: int) -> Config:
    """A copy of the tiny model with other attention heads, and a config that names it."""
    shutil.copytree(tiny_model, folder)
    settings = {**json.loads((folder / "config.json").read_text(encoding="utf-8")), "head_dim": None, **heads}
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    return Config(name="x", model=str(folder), precision="float32")


def test_heads_with_a_width_of_their_own(tiny_model: Path, tmp_path: Path) -> None:
    config = change_heads(tiny_model, tmp_path / "model", num_attention_heads=6, num_key_value_heads=3, head_dim=16)
    accept_head_widths()
    LlamaForCausalLM(LlamaConfig.from_pretrained(config.model)).save_pretrained(config.model)
    loaded = load_model(config)
    assert loaded.model.model.layers[0].self_attn.q_proj.weight.shape == (6 * 16, 32)
    assert read_window(config) == 512
    (answers,) = LocalModel(loaded, "tiny").complete_prompts(["재현율"], [["noise"]], AnswerConfig(max_new_tokens=3))
    assert answers[0].tokens > 0


def test_heads_that_do_not_divide_the_width_and_name_none_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    config = change_heads(tiny_model, tmp_path / "model", num_attention_heads=6, num_key_value_heads=3)
    with pytest.raises(InputError, match="not a multiple of the number of attention heads"):
        load_model(config)


def test_the_founding_models_shape() -> None:
    accept_head_widths()
    with torch.device("meta"):
        model = LlamaForCausalLM(SHAPES["kanana-2.1b"]())
    assert sum(weights.numel() for weights in model.parameters()) == pytest.approx(2.09e9, rel=0.01)
