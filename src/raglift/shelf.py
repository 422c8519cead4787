"""The models of a run: the base loaded once, its tuned copies made when they are needed."""

from __future__ import annotations

import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path

import psutil
import torch

from raglift.config import Config
from raglift.engines import Needs
from raglift.errors import InputError
from raglift.models.adapters import merge_adapter
from raglift.models.calls import CallLog, format_spending
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
)
from raglift.models.remote import RemoteModel, identify_remote, parse_remote
from raglift.offline import prepare_network
from raglift.preflight import check_tokenizer
from raglift.progress import say
from raglift.prompts import PromptWriter
from raglift.records import Experiment
from raglift.runcopy import join_folder
from raglift.runfolder import RunFolder, hash_content, hash_file

MEMORY_SHARE = 0.7  # of the free memory that copies may take


class ModelShelf:
    """Loads the base once and keeps `copies` models ready to answer, the longest unused leaves first.

    Pickled it is its folder and settings alone; a process that gets it from another keeps one, with what it loaded.
    """

    def __init__(self, folder: RunFolder, config: Config, copies: int = 1) -> None:
        self.folder, self.config, self.copies = folder, config, copies
        self._ready: OrderedDict[tuple[str, int], LocalModel] = OrderedDict()

    def __reduce__(self) -> tuple[Callable[..., ModelShelf], tuple[str, str, str]]:
        return open_shelf, self.describe()

    def describe(self) -> tuple[str, str, str]:
        """Folder, settings and identity, by which another process opens it."""
        config = self.config
        if Path(config.model).exists():  # another process may work in another folder
            config = config.model_copy(update={"model": str(Path(config.model).absolute())})
        return self.folder.address or str(self.folder.path.absolute()), config.model_dump_json(), self.identity

    @cached_property
    def identity(self) -> str:
        """What identifies the base, without loading it."""
        return identify_base(self.config)

    @cached_property
    def base(self) -> LoadedModel:
        started = time.monotonic()
        name = self.config.model
        say(f"load model {name}")
        loaded = load_model(self.config, self.prompts)
        say(f"load model {name}: {time.monotonic() - started:.1f} s, {loaded.model.dtype} on {loaded.device}")
        return loaded

    @cached_property
    def prompts(self) -> PromptWriter:
        """Writes the prompts of this run's model, whose weights it does not need."""
        return load_prompts(self.config)

    def adopt(self, other: ModelShelf) -> None:
        """Take over another shelf's base where it is the same model: loading takes time and memory."""
        if "base" in other.__dict__ and other.identity == self.identity:
            self.__dict__["base"] = replace(other.base, prompts=self.prompts)

    def check_experiment(self, experiment: Experiment) -> None:
        """InputError where the experiment's texts do not go through the model's tokenizer or window."""
        check_tokenizer(self.prompts, read_window(self.config), self.config, experiment)

    def needs(self) -> Needs:
        """What training or answering with these models occupies."""
        return Needs(torch.get_num_threads(), self.config.device)

    def has(self, tuning: str, seed: int) -> bool:
        """Whether there are weights for (tuning, seed)."""
        return tuning == "base" or self.folder.weights(tuning, seed).exists()

    def identify(self, tuning: str, seed: int) -> str:
        """A hash of the weights that answer as (tuning, seed)."""
        if tuning == "base":
            return self.identity
        if not self.has(tuning, seed):
            raise InputError(
                str(self.folder.adapter(tuning, seed)),
                "not trained yet",
                "an adapter",
                f"raglift train {self.folder.place}",
            )
        return hash_content(self.identity, hash_file(self.folder.weights(tuning, seed)))

    def provide(self, tuning: str, seed: int) -> TextModel:
        """The model of (tuning, seed)."""
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
        """Tokens of a prompt, 0 where only the server knows."""
        return len(self.prompts.tokenizer(prompt).input_ids)

    @cached_property
    def window(self) -> int | None:
        """Tokens that prompt and answer may have together; None where only the server knows."""
        return read_window(self.config)

    @property
    def requests_at_once(self) -> int | None:
        """How many requests are answered beside each other; None where they share batches."""
        return None

    def note_spending(self) -> None:
        """Write down what answering cost; nothing here."""


class RemoteShelf(ModelShelf):
    """The shelf of a run whose model answers on a server: a base, no weights."""

    gives_up = True  # whether hopeless failures end all calling

    @cached_property
    def identity(self) -> str:
        """Of the model, not of its address."""
        return identify_remote(self.config)

    @cached_property
    def model(self) -> RemoteModel:
        """The one model there is."""
        return RemoteModel(self.config, self._read_calls(), gives_up=self.gives_up)

    @property
    def base(self) -> LoadedModel:  # type: ignore[override]
        """There is none: InputError."""
        raise InputError(
            f"model '{self.config.model}'", "a model on a server", "weights", "choose a model that is loaded here"
        )

    @cached_property
    def prompts(self) -> PromptWriter:
        """As everywhere; of the chat template only the user's turn, around which the server puts the rest."""
        settings = self.config.prompt
        if settings.template == "chat":
            settings = settings.model_copy(update={"template": "founding", "answer_mark": ""})
        return PromptWriter(settings)

    def describe(self) -> tuple[str, str, str]:
        """As everywhere, on a path: limits hold for the one account of calls that all processes write."""
        if self.folder.address is not None:
            raise InputError(
                f"--run {self.folder.address}", "a model on a server, called from several nodes",
                "a path that all nodes share, for the account of its calls", "--engine local calls many at once too",
            )  # fmt: skip
        return super().describe()

    def check_experiment(self, experiment: Experiment) -> None:
        """Nothing: only the server knows its tokenizer and its window."""

    def needs(self) -> Needs:
        return Needs(1, "cpu")

    def has(self, tuning: str, seed: int) -> bool:
        return tuning == "base"

    def provide(self, tuning: str, seed: int) -> TextModel:
        return self.model

    def preload(self, tunings: Sequence[str], seed: int) -> None:
        """Nothing to load; from here on people are answered, and one failure does not end it."""
        self.gives_up = False

    def count_tokens(self, prompt: str) -> int:
        return 0

    @cached_property
    def window(self) -> int | None:
        return None

    @property
    def requests_at_once(self) -> int | None:
        return self.model.threads

    def note_spending(self) -> None:
        """Say what the run folder's calls cost, those of other processes too, and write it into the manifest."""
        spent, settings, name = self._read_calls(), self.config.remote, parse_remote(self.config.model).name
        say(f"model {name}: this run folder so far: {format_spending(spent.spent, settings)}")
        self.folder.update_manifest(remote={"model": name, **spent.describe(settings)})

    def _read_calls(self) -> CallLog:
        return CallLog(self.folder.path / "remote.jsonl")


def create_shelf(folder: RunFolder, config: Config) -> ModelShelf:
    """The shelf for the config's model."""
    return (RemoteShelf if config.is_remote else ModelShelf)(folder, config)


@lru_cache(maxsize=1)
def open_shelf(folder: str, settings: str, identity: str) -> ModelShelf:
    """The shelf of this process for another's; InputError where the two would not mean the same."""
    config = Config.model_validate_json(settings)
    prepare_network()  # a worker process begins here
    run = join_folder(folder)
    node = socket.gethostname()
    if run.address is None and not run.manifest_file.exists():
        raise InputError(
            folder,
            f"no run folder on node {node}",
            "a path that all nodes share, or an address such as s3://bucket/run",
            "--run DIR on a shared file system",
        )
    shelf = create_shelf(run, config)
    if shelf.identity != identity:
        precision = choose_precision(config.precision, choose_device(config.device))
        raise InputError(
            f"model '{config.model}'",
            f"other weights or another precision ({precision}) on node {node}",
            "the same everywhere",
            "--set precision=bfloat16 or float32, and the same model files on every node",
        )
    return shelf
