"""How large a model is and how fast this machine multiplies, without loading any weights."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from raglift.config import Config
from raglift.models.loading import choose_device, choose_precision, explain_failures, locate_model

PROBE_SECONDS = 0.5


@dataclass(frozen=True)
class ModelSize:
    """A model's weights, counted.

    `body` are the weights that every token is multiplied with, `head` those of the LM head, `adapter` those of a
    LoRA adapter with the config's rank and targets; `cache_width` the values that the cache holds for one token.
    """

    total: int
    body: int
    head: int
    adapter: int
    hidden: int
    layers: int
    cache_width: int
    window: int
    bytes_each: int


def measure_model(config: Config) -> ModelSize:
    """Count the weights of the config's model from its configuration alone.

    Raises InputError when the model cannot be found.
    """
    with explain_failures(config.model), torch.device("meta"):
        found = AutoConfig.from_pretrained(locate_model(config.model), trust_remote_code=config.trust_remote_code)
        model = AutoModelForCausalLM.from_config(found, trust_remote_code=config.trust_remote_code)
    text = found.get_text_config()
    total = sum(weights.numel() for weights in model.parameters())  # tied weights are one parameter
    head = model.get_output_embeddings().weight
    embedding = model.get_input_embeddings().weight
    tables = {id(weights): weights.numel() for weights in (head, embedding)}
    adapter = sum(
        config.lora.rank * (module.in_features + module.out_features)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and name.rpartition(".")[2] in config.lora.targets
    )
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    precision = choose_precision(config.precision, choose_device(config.device))
    return ModelSize(
        total=total,
        body=total - sum(tables.values()),
        head=head.numel(),
        adapter=adapter,
        hidden=text.hidden_size,
        layers=text.num_hidden_layers,
        cache_width=2 * text.num_hidden_layers * heads * width,
        window=int(text.max_position_embeddings),
        bytes_each=precision.itemsize,
    )


@torch.inference_mode()
def measure_speed(config: Config, hidden: int, rows: int) -> float:
    """Floating point operations a second of a matrix product as the model makes it: (rows, hidden) × (hidden, 8192).

    The median over about half a second, in the run's precision on the run's device.
    """
    device = choose_device(config.device)
    precision = choose_precision(config.precision, device)
    left = torch.randn(rows, hidden, device=device, dtype=precision)
    right = torch.randn(hidden, 8192, device=device, dtype=precision)
    times: list[float] = []
    started = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - started < PROBE_SECONDS:
        before = time.perf_counter()
        product = left @ right
        product[0, 0].item()  # waits for a GPU
        times.append(time.perf_counter() - before)
    return 2 * rows * hidden * 8192 / sorted(times)[len(times) // 2]
