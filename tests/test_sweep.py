"""Sweeps: which texts are several values, every setting in a run of its own, shared work done once, one table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from raglift.engines.local import LocalEngine
from raglift.errors import InputError
from raglift.report.sweep import draw_sweep, list_cells
from raglift.runfolder import recover_lines
from raglift.statistics.multiplicity import adjust_holm
from raglift.sweep import expand_settings, run_sweep


def test_commas_are_several_values_only_where_a_key_holds_one() -> None:
    shared, settings = expand_settings(
        ["train.epochs=5,10,20", "lora.rank=8, 64", "lora.targets=q_proj,v_proj", "prompt.answer_mark=a,b", "seed=3"]
    )
    assert shared == ["lora.targets=q_proj,v_proj", "prompt.answer_mark=a,b", "seed=3"]
    assert len(settings) == 6
    assert settings[1].list_overrides() == ["train.epochs=5", "lora.rank=64"]
    assert settings[1].folder == "train.epochs=5,lora.rank=64"
    assert expand_settings(["train.context=oracle,mix"])[1][1].name == "train.context=mix"
    assert expand_settings(["train.epochs=5", "nothing.known=1,2"])[1] == []


def test_every_setting_is_run_and_what_they_share_is_made_once(
    tiny_experiment: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    overrides = ["train.epochs=1,2", "answer.max_new_tokens=12", "arms=base.none,base.oracle,sft.none,rag-sft.oracle"]
    sweep, folder = run_sweep(str(tiny_experiment), tmp_path / "run", overrides, LocalEngine())
    assert [row["values"] for row in sweep["settings"]] == [{"train.epochs": "1"}, {"train.epochs": "2"}]
    assert json.loads((folder / "sweep.json").read_text()) == sweep
    first, second = (recover_lines(folder / row["folder"] / "answers.jsonl") for row in sweep["settings"])
    bases = [[row for row in rows if row["arm"].startswith("base.")] for rows in (first, second)]
    assert bases[0] == bases[1], "seconds included: they are the same answers"
    shown = capfd.readouterr().err
    assert shown.count("load model") == 2, "begun and ended once"
    assert "answer: 24/24" in shown, "the second setting answers for its tuned arms only"
    alone = [one["p_value"] for one in sweep["settings"]]
    assert [one["p_holm"] for one in sweep["settings"]] == adjust_holm(alone)
    head, *rows = list_cells(sweep)
    assert head[:2] == ["setting", "base.none"]
    assert [row[0] for row in rows] == ["train.epochs=1", "train.epochs=2"]
    page = (folder / "sweep.html").read_text()
    assert "<script" not in page
    assert "Exploratory" in page
    assert "train.epochs=2" in (folder / "sweep.md").read_text()


def test_adapters_of_another_setting_are_taken_over(tiny_experiment: Path, tmp_path: Path) -> None:
    overrides = ["answer.temperature=0,0.6", "arms=sft.none,rag-sft.oracle", "answer.samples=1"]
    sweep, folder = run_sweep(str(tiny_experiment), tmp_path / "run", overrides, LocalEngine())
    logs = [(folder / row["folder"] / "training.sft-seed0.jsonl").read_bytes() for row in sweep["settings"]]
    assert logs[0] == logs[1], "its times included"
    manifests = [json.loads((folder / row["folder"] / "manifest.json").read_text()) for row in sweep["settings"]]
    assert manifests[0]["stages"]["train:sft-seed0"]["files"] == manifests[1]["stages"]["train:sft-seed0"]["files"]


def test_a_wrong_value_is_found_before_anything_runs(tiny_experiment: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="epochs"):
        run_sweep(str(tiny_experiment), tmp_path / "run", ["train.epochs=1,many"], LocalEngine())
    assert not list(tmp_path.glob("run/sweep/*/answers.jsonl"))


def test_names_in_the_plot_and_the_page_are_escaped() -> None:
    row = {"name": "a=<b>", "values": {"a": "<b>"}, "arms": {"sft.none": 50.0}, "lift": 3.0, "ci95": [1.0, 5.0]}
    sweep = {"settings": [row], "margin": 5.0}
    figure = draw_sweep(sweep)
    assert figure is not None
    assert "<b>" not in figure.wide
    assert "a=&lt;b&gt;" in figure.wide
