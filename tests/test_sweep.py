"""Sweeps: which texts are several values, every setting in a run of its own, shared work done once, one table."""

from __future__ import annotations

import itertools
import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from raglift.engines.local import LocalEngine
from raglift.errors import InputError
from raglift.report.sweep import draw_sweep, list_cells, print_sweep, write_markdown, write_page
from raglift.report.texts import speak
from raglift.runcopy import join_place, open_folder
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
    for twice in ("train.epochs=3", "train.epochs=3,4"):
        with pytest.raises(InputError, match="given twice"):
            expand_settings(["train.epochs=1,2", twice])
    assert expand_settings(["train.epochs=5", "nothing.known=1,2"])[1] == []


def test_settings_with_long_names_have_folders_of_their_own() -> None:
    keys = ("answer.temperature", "train.learning_rate", "lora.alpha", "train.weight_decay", "train.max_gradient_norm")
    _, settings = expand_settings([f"{key}=0.123456789012345,0.2" for key in keys])
    folders = {setting.folder for setting in settings}
    assert len(folders) == len(settings) == 32
    assert max(map(len, folders)) <= 100


def test_every_setting_is_run_and_what_they_share_is_made_once(
    tiny_experiment: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    overrides = ["train.epochs=1,2", "answer.max_new_tokens=12", "arms=base.none,base.oracle,sft.none,rag-sft.oracle"]
    sweep, home = run_sweep(str(tiny_experiment), tmp_path / "run", overrides, LocalEngine())
    folder = home.path / "sweep"
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
    head, *rows = list_cells(sweep, speak("en"))
    assert head[:5] == ["epochs", "Lift", "95% interval", "p (Holm)", "base.none"]
    assert [row[0] for row in rows] == ["1", "2"]
    page = (folder / "sweep.html").read_text()
    assert "<script" not in page
    assert "Exploratory" in page
    assert "\n| 2 | " in (folder / "sweep.md").read_text()


def test_adapters_of_another_setting_are_taken_over_at_an_address_too(
    tiny_experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("obstore", reason="the extra raglift[storage] is not installed")
    monkeypatch.setenv("RAGLIFT_CACHE", str(tmp_path / "cache"))
    overrides = ["answer.temperature=0,0.6", "arms=sft.none,rag-sft.oracle", "answer.samples=1"]
    sweep, home = run_sweep(str(tiny_experiment), (tmp_path / "there").as_uri(), overrides, LocalEngine())
    assert home.locate(home.path / "sweep" / "sweep.html") == f"{(tmp_path / 'there').as_uri()}/sweep/sweep.html"
    there = tmp_path / "there" / "sweep"
    assert json.loads((there / "sweep.json").read_text()) == sweep
    assert all((there / row["folder"] / "report.html").exists() for row in sweep["settings"]), "where the page links"
    folders = [open_folder(join_place(home.place, "sweep", row["folder"])).path for row in sweep["settings"]]
    logs = [(folder / "training.sft-seed0.jsonl").read_bytes() for folder in folders]
    assert logs[0] == logs[1], "its times included"
    manifests = [json.loads((folder / "manifest.json").read_text()) for folder in folders]
    assert manifests[0]["stages"]["train:sft-seed0"]["files"] == manifests[1]["stages"]["train:sft-seed0"]["files"]


def test_a_wrong_value_is_found_before_anything_runs(tiny_experiment: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="epochs"):
        run_sweep(str(tiny_experiment), tmp_path / "run", ["train.epochs=1,many"], LocalEngine())
    assert not list(tmp_path.glob("run/sweep/*/answers.jsonl"))


def make_sweep(keys: dict[str, list[str]], language: str = "en") -> dict[str, Any]:
    """A sweep with made-up numbers of the widest kind."""
    rows = []
    for values in itertools.product(*keys.values()):
        named = dict(zip(keys, values, strict=True))
        rows.append(
            {
                "name": ", ".join(f"{key}={value}" for key, value in named.items()),
                "values": named,
                "arms": {"sft.none": 47.5, "rag-sft.oracle": 100.0, "rag-sft.counterfactual": 12.5},
                **{"lift": -33.3, "ci95": [-44.4, -22.2], "p_value": 0.015625, "p_holm": 0.0000038},
            }
        )
    compared = {"a": "sft.none", "b": "rag-sft.oracle", "split": "seen", "questions": 30, "margin": 5.0}
    return {"experiment": "x", "language": language, "keys": list(keys), **compared, "settings": rows}


THREE = {"train.epochs": ["5", "10"], "train.learning_rate": ["0.0001", "0.0005"], "lora.rank": ["8", "64"]}


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("keys", [THREE, {**THREE, "answer.temperature": ["0", "0.6"]}])
def test_table_fits_into_eighty_columns(keys: dict[str, list[str]], language: str) -> None:
    screen = StringIO()
    print_sweep(make_sweep(keys, language), Path("runs/x/sweep/sweep.html"), Console(file=screen, width=80))
    shown = screen.getvalue()
    assert "…" not in shown
    assert "counterfactual" not in shown, "only the compared arms"
    assert all(word in shown for word in ("[−44.4, −22.2]", "0.0000038", "100.0%", "learning_", "0.0005"))
    assert "sweep.html" in shown.splitlines()[-1]
    assert ("향상 폭" in shown) == (language == "ko")


@pytest.mark.parametrize("language", ["en", "ko"])
def test_page_and_table_speak_one_language(language: str) -> None:
    sweep = make_sweep({"train.epochs": ["5", "10"]}, language)
    for text in (write_markdown(sweep), write_page(sweep)):
        assert ("Exploratory" in text) == ("Lift" in text) == (language == "en")
        assert ("탐색" in text) == ("향상 폭" in text) == (language == "ko")
    assert f'<html lang="{language}">' in write_page(sweep)


def test_labels_of_the_plot_say_what_differs() -> None:
    two = draw_sweep(make_sweep({key: THREE[key] for key in ("train.epochs", "lora.rank")}), speak("en"))
    alike = draw_sweep(make_sweep({"retrieval.model": ["a", "b"], "judge.model": ["c", "d"]}), speak("en"))
    long = draw_sweep(make_sweep({**THREE, "answer.temperature": ["0", "0.6"]}), speak("en"))
    for figure, label in (
        (two, "epochs=10, rank=64"), (alike, "retrieval.model=b, judge.model=d"), (long, "10, 0.0005, 64, 0.6")
    ):  # fmt: skip
        assert figure is not None
        assert f">{label}</text>" in figure.wide
        assert f">{label}</text>" in figure.narrow


def test_names_in_the_plot_and_the_page_are_escaped() -> None:
    sweep = make_sweep({"a": ["<b>"]})
    figure = draw_sweep(sweep, speak("en"))
    assert figure is not None
    assert "<b>" not in figure.wide + write_page(sweep)
    assert "a=&lt;b&gt;" in figure.wide
