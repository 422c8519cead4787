"""`raglift check`: one screen before any hours are spent, and the same as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from raglift.cli import app
from raglift.config import Config, load_config
from raglift.cost import Lengths, estimate_cost
from raglift.datasets import load_experiment
from raglift.models.probing import ModelSize, measure_model, measure_speed
from raglift.outlook import count_asked, describe_outlook, find_near_overlaps, list_next_steps, survey_experiment
from raglift.records import Example, Experiment, Question, Rubric
from raglift.report.outlook import format_duration


def load(folder: Path, *overrides: str) -> tuple[Experiment, Config]:
    config = load_config(folder / "experiment.yaml", overrides)
    return load_experiment(folder, config.name), config


def test_screen_says_everything_and_ends_with_what_to_do(tiny_experiment: Path) -> None:
    done = CliRunner().invoke(app, ["check", str(tiny_experiment)], terminal_width=100)
    assert done.exit_code == 0, done.output
    screen = done.stdout
    for words in (
        "6: 3 seen, 2 unseen, 1 absent", "5 rows", "no training question is an evaluation question",
        "the window holds 512", "no drafts", "hit@1", "too few questions", "of training and", "GiB",
    ):  # fmt: skip
        assert words in " ".join(screen.split()), words
    assert screen.strip().endswith(f"- raglift run {tiny_experiment}")
    assert len(screen.splitlines()) <= 40, "one screen"


def test_json_has_the_same_and_nothing_is_written(tiny_experiment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny_experiment.parent)
    done = CliRunner().invoke(app, ["check", str(tiny_experiment), "--json", "--lint"])
    found = json.loads(done.stdout)
    assert found["lengths"]["window"] == 512 and found["retrieval"]["with_passage"] == 5
    assert found["cost"]["train_seconds"] > 0 and found["warnings"] == []
    assert found["next"][-1] == f"raglift run {tiny_experiment}"
    assert [file.name for file in tiny_experiment.parent.iterdir()] == ["tiny"]


def test_quick_loads_no_model(tiny_experiment: Path) -> None:
    done = CliRunner().invoke(
        app, ["check", str(tiny_experiment), "--quick", "--json", "--set", "model=/nowhere/at-all"]
    )
    found = json.loads(done.stdout)
    assert found["lengths"] is found["retrieval"] is found["cost"] is None
    assert found["answers"] == 4 * 6 * 2


def test_model_on_a_server_is_not_measured(tiny_experiment: Path) -> None:
    experiment, config = load(tiny_experiment, "model=openai:small@http://localhost:1/v1", "arms=base.none,base.oracle",
                              "compare.a=base.none", "compare.b=base.oracle")  # fmt: skip
    survey = survey_experiment(experiment, config)
    assert survey.lengths is survey.cost is None and survey.search is not None


def test_prompt_that_does_not_fit_the_window_is_an_error(tiny_experiment: Path) -> None:
    experiment, config = load(tiny_experiment, "answer.max_new_tokens=500")
    with pytest.raises(Exception, match="at most 512, the model's window"):
        survey_experiment(experiment, config)


def test_next_steps_follow_from_what_was_found(tiny_experiment: Path, edit_rows) -> None:
    edit_rows(tiny_experiment / "questions.jsonl", lambda rows: rows[0]["rubric"].update(draft=True))
    experiment, config = load(tiny_experiment, "answer.max_new_tokens=8")
    survey = survey_experiment(experiment, config)
    steps = "\n".join(list_next_steps(survey, config, "tiny", "tiny"))
    assert survey.lengths is not None and survey.lengths.answers_over_limit > 0
    assert "read the 1 drafted rubrics" in steps and "answer.max_new_tokens=" in steps
    assert "more questions of this split" in steps


def make_question(text: str) -> Question:
    return Question("q", text, None, "absent", "몰라!", Rubric((("몰라",),)))


def test_near_repeats_of_training_questions_are_found() -> None:
    examples = [Example("재현율이라는 값은 어떻게 계산하는 거야?", "답", "p"), Example("정확도가 뭐야?", "답", "p")]
    near = make_question("재현율 이라는 값은 어떻게 계산하는 걸까?")
    far = [make_question("정밀도는 어떻게 계산해?"), make_question("?"), make_question("정확도")]
    assert find_near_overlaps(examples, [near, *far]) == [(examples[0].question, near.question)]
    assert find_near_overlaps([], [near]) == []


def test_repeated_passages_are_counted(tiny_experiment: Path, edit_rows) -> None:
    edit_rows(
        tiny_experiment / "passages.jsonl", lambda rows: rows.append({"id": "again", "text": rows[0]["text"] + " "})
    )
    assert describe_outlook(*load(tiny_experiment)).repeated_passages == 1


def test_weights_are_counted_without_being_loaded(tiny_experiment: Path, tiny_model: Path) -> None:
    from transformers import AutoModelForCausalLM

    _, config = load(tiny_experiment)
    size = measure_model(config)
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    assert size.total == sum(weights.numel() for weights in model.parameters())
    assert size.head == model.lm_head.weight.numel() and size.body == size.total - 2 * size.head
    assert size.window == 512 and size.layers == 2 and size.cache_width == 2 * 2 * 2 * 8
    # Rank 4 on q, k, v, o, gate, up and down of two layers.
    assert size.adapter == 2 * 4 * (64 + 48 + 48 + 64 + 96 + 96 + 96)
    assert measure_speed(config, size.hidden, 8) > 0


def test_cost_grows_with_what_is_done(tiny_experiment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raglift.cost.measure_speed", lambda config, hidden, rows: 1e9)
    experiment, config = load(tiny_experiment)
    size = ModelSize(2_000_000, 1_000_000, 500_000, 10_000, 32, 2, 64, 512, 4)
    lengths = Lengths(512, 100, 80, 20, 10, 0, {"sft": 100, "rag-sft": 300}, 50)
    once = estimate_cost(config, lengths, size, count_asked(experiment, config))
    # Two tunings, two epochs: 400 tokens through body and adapter, 2 × 50 answer tokens through the head.
    assert once.train_seconds == pytest.approx(2 * (400 * 4_060_000 + 100 * 2_000_000) / 1e9 * 1.4)
    _, twice = load(tiny_experiment, "train.epochs=4", "answer.samples=4")
    more = estimate_cost(twice, lengths, size, count_asked(experiment, twice))
    assert more.train_seconds == pytest.approx(2 * once.train_seconds)
    assert once.answer_seconds < more.answer_seconds < 2 * once.answer_seconds, "a question is read once"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (89, "89 s"), (150, "2 min"), (5000, "83 min"), (9000, "2.5 h")]
)
def test_durations_have_about_one_figure(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
