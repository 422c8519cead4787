"""What is measured: an experiment's own rows, questions and settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from raglift.config import Config, load_config
from raglift.datasets import find_experiment, load_experiment
from raglift.models.adapters import merge_adapter
from raglift.models.loading import LoadedModel, load_model
from raglift.models.trainer import encode_row
from raglift.prompts import TrainingRow
from raglift.records import Experiment


@dataclass(frozen=True)
class Workload:
    """An experiment and its model."""

    experiment: Experiment
    config: Config
    loaded: LoadedModel

    def encode_rows(self) -> list[dict[str, list[int]]]:
        """The training rows with their passage, as token ids and labels."""
        passages = self.experiment.passage_by_id
        rows = [
            TrainingRow(one.question, one.answer, (passages[one.passage_id].text,))
            for one in self.experiment.examples
            if one.passage_id is not None
        ]
        return [encode_row(self.loaded, row) for row in rows]

    def write_prompts(self) -> list[str]:
        """The prompts of the questions that have a passage, with it."""
        passages = self.experiment.passage_by_id
        return [
            self.loaded.prompts.write_prompt(one.question, (passages[one.passage_id].text,))
            for one in self.experiment.questions
            if one.passage_id is not None
        ]


def load_workload(name_or_folder: str, overrides: Sequence[str], adapter: Path | None = None) -> Workload:
    """Load an experiment and its model, with a trained adapter merged into it where one is named."""
    folder = find_experiment(name_or_folder)
    config = load_config(folder / "experiment.yaml", overrides)
    loaded = load_model(config)
    return Workload(load_experiment(folder, config.name), config, merge_adapter(loaded, adapter) if adapter else loaded)
