"""A sweep: the same experiment under several settings, compared in one table; what settings share is made once."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from raglift.config import load_config, takes_several
from raglift.datasets import find_experiment
from raglift.engines import Engine
from raglift.errors import InputError
from raglift.experiment import Run, list_training_jobs, name_training, open_run, run_experiment
from raglift.progress import say
from raglift.report.sweep import write_sweep
from raglift.runcopy import join_place, open_folder
from raglift.runfolder import RunFolder, append_lines, hash_content, recover_lines
from raglift.statistics.multiplicity import adjust_holm

MOST_NAME = 100  # characters of a setting's folder


@dataclass(frozen=True)
class Setting:
    """One combination of the values that a sweep varies."""

    values: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        return ", ".join(f"{key}={value}" for key, value in self.values)

    @property
    def folder(self) -> str:
        name = re.sub(r"[^\w.=,+-]+", "-", self.name.replace(", ", ","))
        if len(name) <= MOST_NAME:
            return name
        return f"{name[: MOST_NAME - 9]}-{hash_content(self.name)[:8]}"  # what is cut away may be all that differs

    def list_overrides(self) -> list[str]:
        """As `--set` takes them."""
        return [f"{key}={value}" for key, value in self.values]


def expand_settings(overrides: Sequence[str]) -> tuple[list[str], list[Setting]]:
    """The overrides that all settings share, and the settings: every combination of the keys with several values.

    `train.epochs=5,10` varies a key whose value is a number, a switch or one of some names; where a key holds a
    list or a text, a comma is part of it. InputError for a key that is varied and given twice.
    """
    shared, varied = [], []
    for override in overrides:
        key, _, text = override.partition("=")
        values = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
        if len(values) > 1 and not takes_several(key.strip()):
            varied.append([(key.strip(), value) for value in values])
        else:
            shared.append(override)
    keys = [override.partition("=")[0].strip() for override in overrides]
    again = next((key for [(key, _), *_] in varied if keys.count(key) > 1), None)
    if again is not None:
        raise InputError(f"--set {again}", "given twice", f"all its values at once, --set {again}=VALUE,VALUE")
    return shared, [Setting(values) for values in itertools.product(*varied)] if varied else []


def run_sweep(
    name_or_folder: str, place: Path | str | None, overrides: Sequence[str], engine: Engine, **options: Any
) -> tuple[dict[str, Any], RunFolder]:
    """Run every setting in `<run folder>/sweep/<setting>/`; what `sweep/sweep.json` holds, and the run folder.

    Every setting is checked before the first one starts.
    """
    shared, settings = expand_settings(overrides)
    source = find_experiment(name_or_folder)
    config = load_config(source / "experiment.yaml", [*shared, *settings[0].list_overrides()], **options)
    home = open_folder(place or Path("runs") / config.name)
    with home.hold_lock():
        home.claim(config.name)
        runs = [
            open_run(
                name_or_folder, join_place(home.place, "sweep", one.folder), [*shared, *one.list_overrides()], **options
            )
            for one in settings
        ]
        comparisons = []
        for number, (setting, run) in enumerate(zip(settings, runs, strict=True)):
            say(f"setting {number + 1} of {len(settings)}: {setting.name}")
            run.compute_with(engine)
            if number:
                run.models.adopt(runs[number - 1].models)
                del runs[number - 1].models  # its memory is wanted
            comparisons.append(run_setting(run, runs[:number]))
        sweep = summarize_sweep(settings, runs, comparisons)
        write_sweep(home.path / "sweep", sweep)
    return sweep, home


def run_setting(run: Run, donors: Sequence[Run]) -> dict[str, Any]:
    """Run one setting; adapters and answers that another one has made under the same key are taken over."""
    folders = [donor.folder for donor in donors]
    before = {"train": partial(borrow_adapters, folders=folders), "answer": partial(borrow_answers, folders=folders)}
    with run.folder.hold_lock():
        return run_experiment(run, before)


def borrow_adapters(run: Run, folders: Sequence[RunFolder]) -> None:
    """Copy each missing adapter that another setting has made from the same things."""
    for job in list_training_jobs(run):
        stage = name_training(job.tuning, job.seed)
        for folder in folders:
            noted = folder.read_manifest().get("stages", {}).get(stage)
            if noted is None or noted["made_from"] != job.made_from or folder.find_damage(stage, job.made_from):
                continue
            for name in noted["files"]:
                target = run.folder.path / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder.path / name, target)
            run.folder.record_artifact(
                stage, job.made_from, [run.folder.path / name for name in noted["files"]], job.parts
            )
            break


def borrow_answers(run: Run, folders: Sequence[RunFolder]) -> None:
    """Copy each missing answer that another setting has made under the same key."""
    known = {row.get("key") for row in recover_lines(run.folder.answers)}
    missing = {answer.key for batch in run.plan() for answer in batch.answers} - known
    for folder in folders:
        rows = [row for row in recover_lines(folder.answers) if row.get("key") in missing]
        if rows:
            append_lines(run.folder.answers, rows)
            missing -= {row["key"] for row in rows}


def summarize_sweep(
    settings: Sequence[Setting], runs: Sequence[Run], comparisons: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """The headline of every setting with Holm's adjusted p, and the accuracy of its arms in the headline's split."""
    adjusted = adjust_holm([one["p_value"] for one in comparisons])
    first = comparisons[0]
    rows = []
    for setting, run, comparison, p in zip(settings, runs, comparisons, adjusted, strict=True):
        split = run.config.compare.split
        arms = {arm: (cells.get(split) or {}).get("accuracy") for arm, cells in comparison["arms"].items()}
        rows.append(
            {
                "name": setting.name,
                "values": dict(setting.values),
                "folder": setting.folder,
                "arms": arms,
                **{key: comparison[key] for key in ("lift", "ci95", "p_value", "verdict")},
                "p_holm": p,
            }
        )
    return {
        "experiment": runs[0].config.name,
        "language": runs[0].config.report.language,
        "keys": [key for key, _ in settings[0].values],
        "a": first["a"]["arm"],
        "b": first["b"]["arm"],
        "split": runs[0].config.compare.split,
        "questions": first["a"]["questions"],
        "margin": runs[0].config.compare.margin,
        "exploratory": True,
        "settings": rows,
    }
