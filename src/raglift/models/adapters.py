"""LoRA adapters: a new one on a model, a trained one merged into it."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from pathlib import Path

import torch
from peft import LoraConfig as PeftLoraConfig
from peft import PeftConfig, PeftModel, get_peft_model
from transformers import set_seed

from raglift.config import LoraConfig
from raglift.errors import InputError
from raglift.models.loading import LoadedModel

PROBE = "머신러닝"

NAME = re.compile(r"[A-Za-z0-9_.]{1,200}")


def add_adapter(loaded: LoadedModel, settings: LoraConfig, seed: int) -> PeftModel:
    """The model with a fresh adapter drawn from `seed`; InputError when it has none of the target layers."""
    set_seed(seed)
    config = PeftLoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        init_lora_weights="gaussian" if settings.init == "gaussian" else True,
        target_modules=list(settings.targets),
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(loaded.model, config)
    except ValueError as error:
        raise InputError(
            "lora.targets",
            f"no such layers in model '{loaded.name}' ({str(error)[:150]})",
            "names of linear layers of the model",
        ) from error


def merge_adapter(loaded: LoadedModel, adapter: Path) -> LoadedModel:
    """A copy of the model with the adapter's product added to its weights; the base stays as it was."""
    check_adapter_files(adapter)
    shared = {}
    if not any("embed" in name or "head" in name for name in PeftConfig.from_pretrained(adapter).target_modules):
        weight = loaded.model.get_input_embeddings().weight  # the largest matrix of a small model: not copied
        shared = {id(weight): weight}
    tuned = PeftModel.from_pretrained(copy.deepcopy(loaded.model, shared), adapter, is_trainable=False)
    return replace(loaded, model=tuned.merge_and_unload().eval())


def check_adapter_files(adapter: Path) -> None:
    """InputError for an adapter that is not LoRA in safetensors with plain layer names.

    Other kinds of PEFT configuration can name modules to import, and a text as `target_modules` is a pattern
    for an engine that can be made to run for ever.
    """
    file = adapter / "adapter_config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        targets, kind = config["target_modules"], config["peft_type"]
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        raise InputError(str(file), f"cannot be read ({error})", "the adapter_config.json of a LoRA adapter") from None
    plain = isinstance(targets, list) and all(isinstance(name, str) and NAME.fullmatch(name) for name in targets)
    if kind != "LORA" or not plain or config.get("auto_mapping"):
        raise InputError(str(file), "another kind of adapter", "peft_type LORA with a list of layer names")
    if not (adapter / "adapter_model.safetensors").is_file():
        raise InputError(str(adapter), "no adapter_model.safetensors", "weights as safetensors; no pickles are loaded")


@torch.inference_mode()
def measure_logit_change(loaded: LoadedModel, adapted: PeftModel) -> float:
    """Largest absolute difference that the adapter makes to the next-token logits behind a short text."""
    ids = torch.tensor([loaded.tokenizer(PROBE).input_ids], device=loaded.device)
    keep = torch.tensor([ids.shape[1] - 1], device=loaded.device)
    adapted.eval()
    after = adapted(input_ids=ids, use_cache=False, logits_to_keep=keep).logits
    with adapted.disable_adapter():
        before = adapted(input_ids=ids, use_cache=False, logits_to_keep=keep).logits
    return float((after.float() - before.float()).abs().max())
