"""What the stages ask of the models of a run, wherever those are; no library of models is loaded for it."""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from raglift.config import Config
from raglift.engines import Needs
from raglift.errors import InputError
from raglift.models.completions import TextModel
from raglift.offline import prepare_network
from raglift.prompts import PromptWriter
from raglift.records import Experiment
from raglift.runcopy import join_folder
from raglift.runfolder import RunFolder

if TYPE_CHECKING:  # it brings torch and transformers, some 5 s that a model on a server has no use for
    from raglift.models.loading import LoadedModel


class ModelShelf(ABC):
    """Keeps the models of a run ready to answer.

    Pickled it is its folder and settings alone; a process that gets it from another keeps one, with what it loaded.
    """

    def __init__(self, folder: RunFolder, config: Config) -> None:
        self.folder, self.config = folder, config

    def __reduce__(self) -> tuple[Callable[..., ModelShelf], tuple[type[ModelShelf], str, str, str]]:
        return open_shelf, (type(self), *self.describe())

    def describe(self) -> tuple[str, str, str]:
        """Folder, settings and identity, by which another process opens it."""
        config = self.config
        if Path(config.model).exists():  # another process may work in another folder
            config = config.model_copy(update={"model": str(Path(config.model).absolute())})
        return self.folder.address or str(self.folder.path.absolute()), config.model_dump_json(), self.identity

    @property
    @abstractmethod
    def identity(self) -> str:
        """What identifies the base, without loading it."""

    @property
    @abstractmethod
    def base(self) -> LoadedModel:
        """The base's weights; InputError where there are none."""

    @property
    @abstractmethod
    def prompts(self) -> PromptWriter:
        """Writes the prompts of this run's model, whose weights it does not need."""

    @property
    @abstractmethod
    def window(self) -> int | None:
        """Tokens that prompt and answer may have together; None where only the server knows."""

    @property
    @abstractmethod
    def requests_at_once(self) -> int | None:
        """How many requests are answered beside each other; None where they share batches."""

    @abstractmethod
    def adopt(self, other: ModelShelf) -> None:
        """Take over what another shelf has loaded, where it is the same."""

    @abstractmethod
    def check_experiment(self, experiment: Experiment) -> None:
        """InputError where the experiment's texts do not go through the model's tokenizer or window."""

    @abstractmethod
    def needs(self) -> Needs:
        """What training or answering with these models occupies."""

    @abstractmethod
    def has(self, tuning: str, seed: int) -> bool:
        """Whether (tuning, seed) can answer."""

    @abstractmethod
    def identify(self, tuning: str, seed: int) -> str:
        """A hash of what answers as (tuning, seed); InputError where there is nothing yet."""

    @abstractmethod
    def describe_base(self) -> str:
        """In an error's words, what may differ between two bases of the same name."""

    @abstractmethod
    def provide(self, tuning: str, seed: int) -> TextModel:
        """The model of (tuning, seed)."""

    @abstractmethod
    def preload(self, tunings: Sequence[str], seed: int) -> None:
        """Make ready for people's questions, who wait."""

    @abstractmethod
    def count_tokens(self, prompt: str) -> int:
        """Tokens of a prompt, 0 where only the server knows."""

    @abstractmethod
    def release_memory(self) -> None:
        """Give back what a batch of answers has left behind."""

    @abstractmethod
    def note_spending(self) -> None:
        """Write down what answering cost, where calls are paid for."""


@lru_cache(maxsize=1)
def open_shelf(kind: type[ModelShelf], folder: str, settings: str, identity: str) -> ModelShelf:
    """The shelf of this process for another's (see `describe`); InputError where the two would not mean the same."""
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
    shelf = kind(run, config)
    if shelf.identity != identity:
        raise InputError(
            f"model '{config.model}'",
            f"other {shelf.describe_base()} on node {node}",
            "the same everywhere",
            "--set precision=bfloat16 or float32, and the same model files on every node",
        )
    return shelf
