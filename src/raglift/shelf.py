"""The models of a run: the base loaded once, its tuned copies made when they are needed."""

from __future__ import annotations

import time
from collections import OrderedDict
from functools import cached_property
from pathlib import Path

import psutil
import torch

from raglift.config import Config
from raglift.errors import InputError
from raglift.models.adapters import merge_adapter
from raglift.models.generation import LocalModel
from raglift.models.loading import LoadedModel, load_model
from raglift.preflight import check_tokenizer
from raglift.progress import say
from raglift.prompts import PromptWriter
from raglift.records import Experiment
from raglift.runfolder import RunFolder, hash_content, hash_file

MEMORY_SHARE = 0.7  # of the free memory that copies may take


class ModelShelf:
    """Loads the base once and keeps `copies` tuned copies, the longest unused leaves first."""

    def __init__(self, folder: RunFolder, experiment: Experiment, config: Config, copies: int = 1) -> None:
        self.folder, self.experiment, self.config, self.copies = folder, experiment, config, copies
        self._tuned: OrderedDict[tuple[str, int], LocalModel] = OrderedDict()

    @cached_property
    def base(self) -> LoadedModel:
        config = self.config
        started = time.monotonic()
        say(f"load model {config.model}")
        loaded = load_model(config)
        check_tokenizer(loaded.prompts, loaded.model.config.max_position_embeddings, config, self.experiment)
        say(f"load model {config.model}: {time.monotonic() - started:.1f} s, {loaded.model.dtype} on {loaded.device}")
        return loaded

    @property
    def prompts(self) -> PromptWriter:
        """Writes the prompts of this run's model."""
        return self.base.prompts

    def has(self, tuning: str, seed: int) -> bool:
        """Whether there are weights for (tuning, seed)."""
        return tuning == "base" or self._find_weights(tuning, seed).exists()

    def identify(self, tuning: str, seed: int) -> str:
        """A hash of the weights that answer as (tuning, seed)."""
        if tuning == "base":
            return self.base.identity
        if not self.has(tuning, seed):
            raise InputError(
                str(self.folder.adapter(tuning, seed)),
                "not trained yet",
                "an adapter",
                f"raglift train {self.folder.path}",
            )
        return hash_content(self.base.identity, hash_file(self._find_weights(tuning, seed)))

    def provide(self, tuning: str, seed: int) -> LocalModel:
        """The model of (tuning, seed)."""
        if tuning == "base":
            return LocalModel(self.base, self.base.identity)
        wanted = (tuning, seed)
        if wanted not in self._tuned:
            identity = self.identify(tuning, seed)
            while len(self._tuned) >= self.copies:  # frees the last copy before the next is made
                self._tuned.popitem(last=False)
            merged = merge_adapter(self.base, self.folder.adapter(tuning, seed))
            self._tuned[wanted] = LocalModel(merged, identity)
        self._tuned.move_to_end(wanted)
        return self._tuned[wanted]

    def count_fitting_copies(self, wanted: int) -> int:
        """How many of the wanted copies the free memory holds beside the base, at least one."""
        weights = sum(part.numel() * part.element_size() for part in self.base.model.parameters())
        on_gpu = self.base.device.type == "cuda"
        free = torch.cuda.mem_get_info()[0] if on_gpu else psutil.virtual_memory().available
        return max(1, min(wanted, int(free * MEMORY_SHARE // weights)))

    def _find_weights(self, tuning: str, seed: int) -> Path:
        return self.folder.adapter(tuning, seed) / "adapter_model.safetensors"
