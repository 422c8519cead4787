"""Whole runs on the tiny model: what is written, resumed, redone and refused."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from conftest import write_experiment
from raglift.answering import write_rows
from raglift.answers import hash_sources, read_answers
from raglift.changes import describe_changes
from raglift.cli import main
from raglift.errors import InputError, RunError
from raglift.experiment import Run, compare_arms, open_run, read_comparison_of_two, reopen_run, run_experiment
from raglift.grading.grades import read_grades
from raglift.models.generation import LocalModel
from raglift.runfolder import RunFolder, recover_lines

TIMES = ("seconds",)


def run_tiny(experiment: Path, folder: Path, *overrides: str, **options: object) -> Run:
    run = open_run(str(experiment), folder, overrides, **options)
    run_experiment(run)
    return run


@pytest.fixture(scope="module")
def made(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny experiment and its finished run."""
    root = tmp_path_factory.mktemp("made")
    run_tiny(write_experiment(root / "tiny", tiny_model), root / "run")
    return root


@pytest.fixture
def finished(made: Path, tmp_path: Path) -> Run:
    """A finished run of one's own: a copy of it and of its experiment."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return open_run(str(tmp_path / "tiny"), tmp_path / "run")


def read_rows_without_times(file: Path) -> list[dict]:
    return [{key: value for key, value in row.items() if key not in TIMES} for row in recover_lines(file)]


def test_run_writes_every_artifact_and_a_complete_comparison(finished: Run) -> None:
    run = finished
    for name in ("answers.jsonl", "grades.rubric.jsonl", "comparison.json", "report.md", "report.html", "table.csv"):
        assert (run.folder.path / name).stat().st_size > 0, name
    assert (run.folder.adapter("sft", 0) / "adapter_model.safetensors").exists()
    comparison = json.loads(run.folder.comparison.read_text())
    assert {"a", "b", "lift", "ci95", "p_value", "test", "verdict", "minimum_detectable_lift"} <= set(comparison)
    assert comparison["a"]["arm"] == "sft.none"
    assert set(comparison["arms"]) == {"base.none", "base.oracle", "sft.none", "rag-sft.oracle"}
    answers = read_answers(run.folder, run.list_keys())
    assert len(answers) == 4 * 6 * 2
    assert set(read_grades(run.folder.grades("rubric"))) == {answer.key for answer in answers}


def test_noise_and_prompt_differ_between_arms_only_by_the_passage(finished: Run) -> None:
    planned = [answer for batch in finished.plan() for answer in batch.answers]
    noise = {}
    for answer in planned:
        noise.setdefault((answer.question_id, answer.sample), set()).add(answer.noise)
    assert all(len(names) == 1 for names in noise.values())
    absent = [
        answer.prompt for answer in planned if answer.question_id == "q-absent" and str(answer.arm) == "base.oracle"
    ]
    assert all(finished.config.prompt.not_found in prompt for prompt in absent)


def test_more_answers_a_question_keep_those_that_exist(tiny_experiment: Path, tmp_path: Path) -> None:
    headline = ["precision=float32", "arms=base.oracle,base.none", "compare.a=base.none", "compare.b=base.oracle"]
    first = run_tiny(tiny_experiment, tmp_path / "run", "answer.samples=1", *headline)
    kept = recover_lines(first.folder.answers)
    more = run_tiny(tiny_experiment, tmp_path / "run", "answer.samples=3", *headline)
    rows = recover_lines(more.folder.answers)
    assert len(rows) == 3 * len(kept) == len(more.list_keys())
    assert [row for row in rows if row["sample"] == 0] == kept, "with the seconds that they took"
    assert more.folder.comparison.exists()
    whole = run_tiny(tiny_experiment, tmp_path / "whole", "answer.samples=3", *headline)
    whole_rows = recover_lines(whole.folder.answers)
    assert {row["key"]: row["text"] for row in rows} == {row["key"]: row["text"] for row in whole_rows}


def test_arms_with_the_same_prompt_share_its_answers(
    tiny_experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[tuple[str, str]] = []
    plain = LocalModel.complete_prompts

    def count(self: LocalModel, prompts: Sequence[str], noise: Sequence[Sequence[str]], *more: object) -> object:
        computed.extend((prompt, name) for prompt, names in zip(prompts, noise, strict=True) for name in names)
        return plain(self, prompts, noise, *more)

    monkeypatch.setattr(LocalModel, "complete_prompts", count)
    headline = ["precision=float32", "compare.b=base.retrieved"]
    both = run_tiny(
        tiny_experiment, tmp_path / "both", "arms=base.oracle,base.retrieved", "compare.a=base.oracle", *headline
    )
    planned = [(answer.prompt, answer.noise) for batch in both.plan() for answer in batch.answers]
    assert len(planned) == 2 * 6 * 2
    assert sorted(computed) == sorted(set(planned)), "each once"
    assert len(computed) < len(planned)
    alone = run_tiny(
        tiny_experiment, tmp_path / "alone", "arms=base.none,base.retrieved", "compare.a=base.none", *headline
    )
    texts = [
        {(row["question_id"], row["sample"]): row["text"] for row in rows if row["arm"] == "base.retrieved"}
        for rows in (recover_lines(run.folder.answers) for run in (both, alone))
    ]
    assert texts[0] == texts[1]
    assert len(texts[0]) == 6 * 2


def test_second_run_does_nothing_again(finished: Run) -> None:
    files = finished.folder.weights("sft", 0), finished.folder.answers
    before = [file.stat().st_mtime_ns for file in files]
    run_experiment(finished)
    assert [file.stat().st_mtime_ns for file in files] == before


def test_changed_question_reruns_its_own_answers_only(finished: Run, tmp_path: Path, edit_rows) -> None:
    before = {row["key"]: row for row in recover_lines(finished.folder.answers)}

    def reword(rows: list[dict]) -> None:
        rows[0]["question"] = "리콜이란 게 뭐야?"

    edit_rows(tmp_path / "tiny" / "questions.jsonl", reword)
    again = run_tiny(tmp_path / "tiny", tmp_path / "run")
    after = {answer.key: answer for answer in read_answers(again.folder, again.list_keys())}
    new = [answer for key, answer in after.items() if key not in before]
    assert {answer.question_id for answer in new} == {"q-recall"}
    assert len(new) == 4 * 2
    kept = {key for key in after if key in before}
    rows = {row["key"]: row for row in recover_lines(again.folder.answers)}
    assert all(rows[key] == before[key] for key in kept)
    assert set(read_grades(again.folder.grades("rubric"))) == set(after), "answers no longer planned are not graded"


def test_torn_answers_are_done_again_and_end_the_same(finished: Run) -> None:
    folder = finished.folder
    whole, comparison = read_rows_without_times(folder.answers), folder.comparison.read_text()
    data = folder.answers.read_bytes()
    folder.answers.write_bytes(data[: len(data) * 2 // 3])
    run_experiment(finished)
    assert read_rows_without_times(folder.answers) == whole
    assert folder.comparison.read_text() == comparison


def test_damaged_adapter_is_noticed_and_trained_again(finished: Run, capfd) -> None:
    weights = finished.folder.weights("rag-sft", 0)
    good = weights.read_bytes()
    weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    run_experiment(finished)
    assert weights.read_bytes() == good, "training is deterministic"
    assert "damaged" in capfd.readouterr().err


@pytest.mark.parametrize("stage", ["train", "answer"])
def test_killed_run_ends_like_the_undisturbed_one(finished: Run, tmp_path: Path, stage: str) -> None:
    """The command itself, killed as soon as the stage has written something; tests/test_faults.py has more moments."""
    killed = RunFolder(tmp_path / "killed")
    command = [sys.executable, "-m", "raglift", "run", str(tmp_path / "tiny"), "--json", "--run", str(killed.path)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    begun = "checkpoints/*/training.sft-seed0.jsonl" if stage == "train" else "answers.jsonl"
    while not list(killed.path.glob(begun)) and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not killed.comparison.exists(), "it was killed in the middle"
    resumed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(resumed.stdout) == json.loads(finished.folder.comparison.read_text())
    assert read_rows_without_times(killed.answers) == read_rows_without_times(finished.folder.answers)


def test_two_processes_on_one_run_folder_are_refused(finished: Run, tmp_path: Path) -> None:
    with finished.folder.hold_lock():
        done = subprocess.run(
            [sys.executable, "-m", "raglift", "run", str(tmp_path / "tiny"), "--run", str(finished.folder.path)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert f"process {os.getpid()}" in done.stderr


def test_the_advised_command_mends_by_the_settings_of_the_run(finished: Run, tmp_path: Path, monkeypatch) -> None:
    """`raglift run` without its options would be another run: what they had made would be lost."""
    place = finished.folder.path.rename(tmp_path / "my run")
    run = open_run(str(tmp_path / "tiny"), place, ["answer.samples=1", "train.epochs=1"], seeds=2)
    run_experiment(run)
    settings, weights = run.folder.read_manifest()["config"], run.folder.weights("sft", 1)
    good = weights.read_bytes()
    weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(RunError, match="damaged") as caught:
        reopen_run(place, stage="report")
    command = str(caught.value).partition("to do: ")[2].removesuffix(" makes just that again")
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    assert sys.argv == ["raglift", "train", str(place)]
    with suppress(SystemExit):
        main()
    assert weights.read_bytes() == good
    assert reopen_run(place, stage="report").folder.read_manifest()["config"] == settings


def test_settings_that_are_taken_back_cost_nothing(finished: Run, tmp_path: Path, capfd) -> None:
    """Training with other settings that fails or is stopped leaves the adapters that are whole as they were."""
    with pytest.raises(RunError, match=r"lower train\.learning_rate"):
        run_tiny(tmp_path / "tiny", tmp_path / "run", "train.learning_rate=1e30", "train.max_gradient_norm=1e30")
    capfd.readouterr()
    run_tiny(tmp_path / "tiny", tmp_path / "run")
    said = capfd.readouterr().err
    assert "again" not in said and "damaged" not in said and "train:" not in said, said


def test_a_change_is_shown_where_it_is() -> None:
    arms = ["base.none", "base.oracle", "sft.none", "rag-sft.oracle"]
    assert describe_changes({"arms": arms}, {"arms": [*arms[:3], "sft.oracle"]}) == (
        "arms: now without rag-sft.oracle and with sft.oracle"
    )
    assert describe_changes({"arms": arms}, {"arms": arms[::-1]}) == "arms: now in another order"
    assert describe_changes({"a": "x" * 99}, {"a": 2}) == f"a: {'x' * 40}…, now 2"


def test_the_reason_names_no_weights_that_did_not_answer(finished: Run, tmp_path: Path, capfd) -> None:
    run_tiny(tmp_path / "tiny", tmp_path / "run", "answer.temperature=0.9", seeds=2)
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("answer again")]
    assert said
    assert all("0.9" in line and "weights" not in line for line in said), "a seed more changes no other seed's answers"


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.update_manifest(experiment="x")
    for name in (".manifest.json.mxm6696g", ".grades.rubric.jsonl.izvf4erx", ".grades.human.jsonl.count", "a.12345678"):
        (tmp_path / name).write_text("{")
    with folder.hold_lock():
        left = sorted(file.name for file in tmp_path.iterdir())
    assert left == [".grades.human.jsonl.count", ".manifest.copy.json", "a.12345678", "lock", "manifest.json"]


def test_run_folder_of_another_experiment_is_refused(tiny_experiment: Path, tmp_path: Path) -> None:
    open_run(str(tiny_experiment), tmp_path / "run")
    config = tiny_experiment / "experiment.yaml"
    config.write_text(config.read_text().replace("name: tiny", "name: other"))
    with pytest.raises(InputError, match="a run of experiment 'tiny'"):
        open_run(str(tiny_experiment), tmp_path / "run")


def test_stage_commands_reopen_the_run(finished: Run, tmp_path: Path) -> None:
    assert reopen_run(tmp_path / "run").config.model_dump() == finished.config.model_dump()


def test_stages_that_read_answers_load_no_model(finished: Run) -> None:
    code = """
import sys
from raglift.cli import app
for words in ("grade RUN", "grade RUN --explain", "compare RUN", "compare RUN RUN --a sft.none", "report RUN",
              "review RUN --export RUN/table", "draw RUN --labels 4"):
    app(words.replace("RUN", sys.argv[1]).split(), standalone_mode=False)
heavy = ("torch", "transformers", "peft", "accelerate", "datasets", "tokenizers", "lancedb", "pandas", "kiwipiepy")
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(finished.folder.path)], capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stderr


def test_noted_keys_are_those_of_the_plan_whatever_has_changed(
    tiny_experiment: Path, tiny_model: Path, tmp_path: Path, edit_rows
) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    settings = [f"model={model}", "answer.samples=1", "arms=base.oracle,sft.none", "compare.b=base.oracle"]
    folder = run_tiny(tiny_experiment, tmp_path / "run", *settings).folder
    weights, seen = folder.weights("sft", 0), []

    def list_noted() -> list[str]:
        opened = open_run(str(tiny_experiment), folder.path, settings)
        keys = opened.list_keys()
        assert keys == [answer.key for batch in opened.plan() for answer in batch.answers]
        again = open_run(str(tiny_experiment), folder.path, settings)
        assert again.list_keys() == keys and "models" not in again.__dict__, "the next one finds the note"
        return keys

    def swap(file: Path, old: str, new: str) -> None:
        file.write_text(file.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")

    changes: dict[str, Callable[[], object]] = {
        "nothing": lambda: None,
        "question": lambda: edit_rows(
            tiny_experiment / "questions.jsonl", lambda rows: rows[0].update(question="리콜?")
        ),
        "passage": lambda: edit_rows(tiny_experiment / "passages.jsonl", lambda rows: rows[0].update(text="재현율 뜻")),
        "setting": lambda: settings.append("answer.temperature=0.5"),
        "adapter": lambda: weights.write_bytes(weights.read_bytes()[:-1] + b"1"),
        "model": lambda: swap(model / "config.json", '"rms_norm_eps": 1e-06', '"rms_norm_eps": 1e-05'),
    }
    for name, change in changes.items():
        change()
        keys = list_noted()
        assert keys not in seen, name
        seen.append(keys)
    opened = open_run(str(tiny_experiment), folder.path, settings)
    sources = hash_sources(opened.config, opened.experiment, folder)
    folder.ranking.write_text("{}")
    assert hash_sources(opened.config, opened.experiment, folder) != sources
    edit_rows(tiny_experiment / "questions.jsonl", lambda rows: rows[1]["rubric"]["must"].append(["비율"]))
    folder.plan.write_text(folder.plan.read_text().replace(seen[-1][0], seen[0][0]))
    assert list_noted() == seen[-1], "no answer depends on a rubric; a damaged note is none"


def test_whole_grid_runs(tiny_experiment: Path, tmp_path: Path) -> None:
    run = run_tiny(tiny_experiment, tmp_path / "run", "answer.samples=1", "answer.distractors=2", arms="all", seeds=2)
    comparison = json.loads(run.folder.comparison.read_text())
    assert len(comparison["arms"]) == 15, "counterfactual arms have no accuracy"
    assert comparison["seeds"] == [0, 1]
    assert set(comparison["behaviour"]["counterfactual"]) == {f"{t}.counterfactual" for t in ("base", "sft", "rag-sft")}
    assert comparison["retrieval"]["hit_at_3"]["value"] >= comparison["retrieval"]["hit_at_1"]["value"]


def test_two_runs_are_compared_over_the_same_questions(finished: Run, tmp_path: Path, edit_rows) -> None:
    second = run_tiny(tmp_path / "tiny", tmp_path / "second", "train.epochs=1")
    result = read_comparison_of_two(finished, second, None, "sft.none")
    assert result["a"]["arm"].endswith("run: rag-sft.oracle")
    assert result["b"]["arm"].endswith("second: sft.none")
    edit_rows(tmp_path / "tiny" / "questions.jsonl", lambda rows: rows[0].update(question="리콜이란 게 뭐야?"))
    changed = open_run(str(tmp_path / "tiny"), tmp_path / "second")
    with pytest.raises(InputError, match="q-recall"):
        read_comparison_of_two(finished, changed, None, None)


def test_incomplete_arm_is_not_compared(finished: Run) -> None:
    rows = recover_lines(finished.folder.answers)
    write_rows(finished.folder, [row for row in rows if (row["arm"], row["question_id"]) != ("sft.none", "q-recall")])
    with pytest.raises(InputError, match=r"q-recall(.|\n)*never compared"):
        compare_arms(finished)
