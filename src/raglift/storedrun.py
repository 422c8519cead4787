"""A run as its folder holds it: experiment and settings. No model is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from raglift.config import Config, override_section, validate_config
from raglift.datasets import find_experiment, load_experiment
from raglift.errors import InputError
from raglift.records import Experiment
from raglift.runcopy import open_folder
from raglift.runfolder import RunFolder


@dataclass(frozen=True)
class StoredRun:
    """A run folder, its experiment, the config it was started with, and where the experiment came from."""

    folder: RunFolder
    experiment: Experiment
    config: Config
    source: str = ""


def read_run(place: Path | str, stage: str, judge_overrides: Sequence[str] = ()) -> StoredRun:
    """The run that a folder holds, by its path or its address, to do one stage of it.

    `judge.key=value` overrides may be laid over its config: another judge makes no answer stale.
    Raises InputError when the folder holds no run, RunError when a file that the stage reads is damaged.
    """
    folder = open_folder(place)
    manifest = folder.read_manifest()
    if "config" not in manifest or "source" not in manifest:
        fix = "raglift run EXPERIMENT --run DIR"
        raise InputError(str(place), "no run folder", "a folder that `raglift run` made", fix)
    manifest["config"].get("compare", {}).pop("confidence", None)  # a key that once was, and that nothing read
    config = validate_config(manifest["config"], f"{folder.manifest_file}: config")
    config = override_section(config, "judge", judge_overrides)
    experiment = load_experiment(find_experiment(manifest["source"]), config.name)
    folder.refuse_damage(stage)
    return StoredRun(folder, experiment, config, manifest["source"])
