"""`raglift export`: what plain loaders read is what was measured; logs that Inspect opens; nothing pushed by itself."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conftest import write_experiment
from raglift import cli
from raglift.answers import read_answers
from raglift.config import AnswerConfig
from raglift.errors import InputError, RunError
from raglift.experiment import Run, answer_questions, compare_arms, grade_answers, report_run
from raglift.export.logs import write_logs
from raglift.export.weights import export_weights, push_folder, require_token
from raglift.grading.grades import read_grades
from raglift.lock import make_folder
from serve_fixture import make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Run:
    folder = tmp_path_factory.mktemp("export")
    made = make_run(write_experiment(folder / "tiny", tiny_model), folder / "run")
    answer_questions(made)
    grade_answers(made)
    compare_arms(made)
    report_run(made)
    return made


def run_command(*arguments: str) -> None:
    cli.app(list(arguments), standalone_mode=False)


def test_plain_loading_answers_as_the_run_does(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run_command("export", str(run.folder.path), "--to", str(tmp_path / "out"))
    assert str(tmp_path / "out") in capsys.readouterr().out.splitlines()[-1]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    base = AutoModelForCausalLM.from_pretrained(run.config.model, dtype="auto")
    adapted = PeftModel.from_pretrained(base, tmp_path / "out" / "adapter")
    greedy = AnswerConfig(temperature=0, max_new_tokens=12, stop="token")
    answers = read_answers(run.folder, run.list_keys())
    prompts = list(dict.fromkeys(answer.prompt for answer in answers if answer.arm == "rag-sft.oracle"))
    ours = run.models.provide("rag-sft", 0).complete_prompts(prompts, [["n"]] * len(prompts), greedy)
    different = 0
    for prompt, expected in zip(prompts, ours, strict=True):
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        for plain in (model, adapted):
            out = plain.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False, pad_token_id=0
            )
            text = tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True).strip()
            assert text == expected[0].text
        untuned = run.models.provide("base", 0).complete_prompts([prompt], [["n"]], greedy)[0][0].text
        different += untuned != expected[0].text
    assert len(prompts) > 3 and different > 0, "the adapter changes answers, or this shows nothing"


def test_what_lies_in_an_export(run: Run, tmp_path: Path) -> None:
    target = export_weights(run.models, "sft", 0, None)
    assert target == run.folder.path / "export" / "sft-seed0"
    names = {file.name for file in target.iterdir()}
    assert {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "adapter",
        "README.md",
        "GGUF.txt",
        "export.json",
    } <= names
    assert (target / "adapter" / "README.md").read_bytes() == (run.folder.adapter("sft", 0) / "README.md").read_bytes()
    card = (target / "README.md").read_text(encoding="utf-8")
    assert "library_name: transformers" in card and "PeftModel" not in card and "AutoModelForCausalLM" in card
    gguf = (target / "GGUF.txt").read_text(encoding="utf-8")
    assert "convert_hf_to_gguf.py . --outfile tiny-sft-seed0-bf16.gguf" in gguf and "{api: completions}" in gguf
    export_weights(run.models, "sft", 0, None)  # an export may be replaced
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it", encoding="utf-8")
    with pytest.raises(InputError, match="other things"):
        export_weights(run.models, "sft", 0, tmp_path / "mine")
    with pytest.raises(InputError, match="not trained"):
        export_weights(run.models, "sft", 5, tmp_path / "none")
    assert not (tmp_path / "none").exists() and [one.name for one in tmp_path.iterdir()] == ["mine"]


def test_what_a_killed_export_left_is_removed(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "a [model]"
    left, other = tmp_path / ".a [model].12345678", tmp_path / ".amodel.12345678"
    for folder in (left, other):
        folder.mkdir()
        (folder / "model.safetensors").write_text("half of it", encoding="utf-8")
    with make_folder(target) as working:
        assert not left.exists()
        export_weights(run.models, "sft", 0, target)
        assert working.exists(), "another process works in it"
    assert sorted(one.name for one in tmp_path.iterdir()) == [".amodel.12345678", "a [model]"]


def test_nothing_is_pushed_without_a_token(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(InputError, match="HF_TOKEN"):
        run_command("export", str(run.folder.path), "--push", "me/model", "--to", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists(), "the error comes before the work"
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_secret")
    for name in ("model", "a/b/c", "../x", "me/"):
        with pytest.raises(InputError, match="owner/name"):
            require_token(name)
    assert require_token("me/model") == "hf_secret"


def test_pushes_are_private_and_failures_say_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    done: list[Any] = []
    api = SimpleNamespace(
        create_repo=lambda name, **options: done.append((name, options)) or f"https://hub/{name}",
        upload_folder=lambda **options: done.append(options),
    )
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda token: api)
    assert push_folder(tmp_path, "me/model", "hf_secret") == "https://hub/me/model"
    assert done[0] == ("me/model", {"private": True, "exist_ok": True})
    assert done[1]["folder_path"] == tmp_path and done[1]["repo_id"] == "me/model"

    def fail(**options: Any) -> None:
        raise OSError("refused for hf_secret")

    api.upload_folder = fail
    with pytest.raises(RunError, match=r"refused for \*\*\*"):
        push_folder(tmp_path, "me/model", "hf_secret")


def test_inspect_logs(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = pytest.importorskip("inspect_ai.log")
    run_command("export", str(run.folder.path), "--inspect", "--to", str(tmp_path))
    assert "4 in" in capsys.readouterr().out
    grades = read_grades(run.folder.grades("rubric"))
    answers = read_answers(run.folder, run.list_keys())
    for arm in run.config.arms:
        read = log.read_eval_log(str(tmp_path / f"{arm}.eval"))
        mine = [answer for answer in answers if answer.arm == arm]
        assert read.status == "success" and read.eval.task == f"tiny_{arm}" and read.eval.config.epochs == 2
        assert len(read.samples) == len(mine) == 12
        by_key = {sample.metadata["key"]: sample for sample in read.samples}
        for answer in mine:
            sample, grade = by_key[answer.key], grades[answer.key]
            assert (sample.input, sample.output.completion) == (answer.prompt, answer.text)
            if grade.verdict == "unscored":
                assert not sample.scores
            else:
                assert sample.scores["rubric"].value == {"correct": "C", "incorrect": "I"}[grade.verdict]
        correct = sum(grades[answer.key].verdict == "correct" for answer in mine)
        scored = sum(grades[answer.key].verdict != "unscored" for answer in mine)
        assert read.results.scores[0].metrics["accuracy"].value == pytest.approx(correct / scored)


def test_logs_without_the_extra_say_what_to_install(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "inspect_ai.log", None)
    with pytest.raises(InputError, match=r"raglift\[inspect\]"):
        write_logs(tmp_path, run.experiment, run.config, [], {})
    assert json.loads(run.folder.manifest_file.read_text(encoding="utf-8"))["experiment"] == "tiny"
