"""Models whose weights are loaded here: the base once, its tuned copies when they are needed."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import psutil
import torch

from raglift.config import Config
from raglift.engines import Needs
from raglift.errors import InputError
from raglift.models.adapters import merge_adapter
from raglift.models.completions import TextModel
from raglift.models.generation import LocalModel
from raglift.models.loading import (
    LoadedModel,
    choose_device,
    choose_precision,
    identify_base,
    load_model,
    load_prompts,
    read_window,
    release_memory,
)
from raglift.preflight import check_tokenizer
from raglift.progress import say
from raglift.prompts import PromptWriter
from raglift.records import Experiment
from raglift.runfolder import RunFolder, hash_content, hash_file
from raglift.sanitization import quote_command
from raglift.shelf.interface import ModelShelf

MEMORY_SHARE = 0.7  # of the free memory that copies may take


class LocalShelf(ModelShelf):
    """Loads the base once and keeps `copies` models ready to answer, the longest unused leaves first."""

    def __init__(self, folder: RunFolder, config: Config) -> None:
        super().__init__(folder, config)
        self.copies = 1
        self._ready: OrderedDict[tuple[str, int], LocalModel] = OrderedDict()

    @cached_property
    def identity(self) -> str:
        return identify_base(self.config)

    @cached_property
    def base(self) -> LoadedModel:
        """The base's weights, loaded when they are first needed."""
        started = time.monotonic()
        name = self.config.model
        say(f"load model {name}")
        loaded = load_model(self.config, self.prompts)
        say(f"load model {name}: {time.monotonic() - started:.1f} s, {loaded.model.dtype} on {loaded.device}")
        return loaded

    @cached_property
    def prompts(self) -> PromptWriter:
        return load_prompts(self.config)

    def adopt(self, other: ModelShelf) -> None:
        """Take over another shelf's base where it is the same model: loading takes time and memory."""
        if "base" in other.__dict__ and other.identity == self.identity:
            self.__dict__["base"] = replace(other.base, prompts=self.prompts)

    def check_experiment(self, experiment: Experiment) -> None:
        check_tokenizer(self.prompts, read_window(self.config), self.config, experiment)

    def needs(self) -> Needs:
        return Needs(torch.get_num_threads(), self.config.device)

    def has(self, tuning: str, seed: int) -> bool:
        """Whether there are weights for (tuning, seed)."""
        return tuning == "base" or self.folder.weights(tuning, seed).exists()

    def identify(self, tuning: str, seed: int) -> str:
        """A hash of the weights that answer."""
        if tuning == "base":
            return self.identity
        if not self.has(tuning, seed):
            raise InputError(
                str(self.folder.adapter(tuning, seed)),
                "not trained yet",
                "an adapter",
                quote_command("raglift", "train", self.folder.place),
            )
        return hash_content(self.identity, hash_file(self.folder.weights(tuning, seed)))

    def describe_base(self) -> str:
        precision = choose_precision(self.config.precision, choose_device(self.config.device))
        return f"weights or another precision ({precision})"

    def provide(self, tuning: str, seed: int) -> TextModel:
        wanted = (tuning, 0 if tuning == "base" else seed)
        if wanted not in self._ready:
            if tuning != "base":
                self.folder.take(self.folder.adapter(tuning, seed))
            identity = self.identify(tuning, seed)
            while len(self._ready) >= self.copies:  # frees the last one before the next is made
                self._ready.popitem(last=False)
            self._ready[wanted] = LocalModel(self._tune(tuning, seed), identity)
        self._ready.move_to_end(wanted)
        return self._ready[wanted]

    def _tune(self, tuning: str, seed: int) -> LoadedModel:
        return self.base if tuning == "base" else merge_adapter(self.base, self.folder.adapter(tuning, seed))

    def preload(self, tunings: Sequence[str], seed: int) -> None:
        """Make as many of the models ready as the free memory holds beside the base, at least one."""
        weights = sum(part.numel() * part.element_size() for part in self.base.model.parameters())
        on_gpu = self.base.device.type == "cuda"
        free = torch.cuda.mem_get_info()[0] if on_gpu else psutil.virtual_memory().available
        self.copies = max(1, min(len(tunings), int(free * MEMORY_SHARE // weights)))
        for tuning in tunings[: self.copies]:
            self.provide(tuning, seed)

    def count_tokens(self, prompt: str) -> int:
        return len(self.prompts.tokenizer(prompt).input_ids)

    @cached_property
    def window(self) -> int | None:
        return read_window(self.config)

    @property
    def requests_at_once(self) -> int | None:
        return None

    def release_memory(self) -> None:
        """Or batch by batch the allocator holds half a GB more in pieces that fit nothing."""
        release_memory()

    def note_spending(self) -> None:
        """Nothing: it costs time alone."""
