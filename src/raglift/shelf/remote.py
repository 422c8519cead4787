"""A model on a server: a base, no weights."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from raglift.engines import Needs
from raglift.errors import InputError
from raglift.models.calls import CallLog, format_spending
from raglift.models.completions import TextModel
from raglift.models.remote import RemoteModel, identify_remote, parse_remote
from raglift.progress import say
from raglift.prompts import PromptWriter
from raglift.records import Experiment
from raglift.shelf.interface import ModelShelf

if TYPE_CHECKING:
    from raglift.models.loading import LoadedModel


class RemoteShelf(ModelShelf):
    """The shelf of a run whose model answers on a server."""

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
    def base(self) -> LoadedModel:
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

    def adopt(self, other: ModelShelf) -> None:
        """Nothing: nothing is loaded."""

    def check_experiment(self, experiment: Experiment) -> None:
        """Nothing: only the server knows its tokenizer and its window."""

    def needs(self) -> Needs:
        return Needs(1, "cpu")

    def has(self, tuning: str, seed: int) -> bool:
        return tuning == "base"

    def identify(self, tuning: str, seed: int) -> str:
        return self.identity

    def describe_base(self) -> str:
        return "model"

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

    def release_memory(self) -> None:
        """Nothing: the memory is the server's."""

    def note_spending(self) -> None:
        """Say what the run folder's calls cost, those of other processes too, and write it into the manifest."""
        spent, settings, name = self._read_calls(), self.config.remote, parse_remote(self.config.model).name
        say(f"model {name}: this run folder so far: {format_spending(spent.spent, settings)}")
        self.folder.update_manifest(remote={"model": name, **spent.describe(settings)})

    def _read_calls(self) -> CallLog:
        return CallLog(self.folder.path / "remote.jsonl")
