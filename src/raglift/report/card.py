"""A model card for an adapter, in the Hugging Face Hub's format: settings, data hash, results."""

from __future__ import annotations

import re
from typing import Any

from raglift.report.content import Content, TrainingLog
from raglift.report.markdown_table import draw_table
from raglift.report.numbers import format_accuracy, format_decimal, format_interval, format_tally, is_number
from raglift.report.sentences import list_limits, say_lift, say_verdict
from raglift.report.settings import flatten
from raglift.report.texts import say_split, speak
from raglift.report.trust import say_doubts
from raglift.sanitization import escape_markdown, quote_code

# What the hub calls the embedded model, and the terms it comes under
HUB_NAMES = {"gemma3-270m": "google/gemma-3-270m"}
LICENSES = {"gemma3-270m": "gemma"}
_HANGUL = re.compile("[가-힣]")
TEMPLATE = "---\n{{ card_data }}\n---\n\n{{ body }}\n"


def write_card(content: Content, tuning: str, seed: int) -> str:
    """README.md of the adapter that was trained as `tuning` with `seed`."""
    from huggingface_hub import ModelCard  # 0.4 s to import: not for those who only want the summary

    name = f"{content.experiment}-{tuning}-seed{seed}"
    card = ModelCard.from_template(
        _describe_adapter(content, tuning, seed, name),
        template_str=TEMPLATE,
        body=_write_body(content, tuning, seed, name),
    )
    return str(card)


def _describe_adapter(content: Content, tuning: str, seed: int, name: str) -> Any:
    from huggingface_hub import EvalResult, ModelCardData

    base = _name_base(content)
    asked = [question.question for question in content.questions]
    results = [
        EvalResult(
            task_type="question-answering",
            task_name="Question answering",
            dataset_type=content.experiment,
            dataset_name=f"{content.experiment}, {split} questions",
            dataset_split=split,
            dataset_config=arm,
            metric_type="accuracy",
            metric_name=f"Accuracy of {arm}",
            metric_value=cell["accuracy"],
        )
        for arm, split, cell in _list_results(content, tuning)
        if is_number(cell.get("accuracy"))
    ]
    return ModelCardData(
        base_model=base if base.count("/") == 1 else None,
        language="ko" if any(map(_HANGUL.search, asked)) else None,
        library_name="peft",
        license=LICENSES.get(str(content.settings.get("model"))),
        model_name=name,
        pipeline_tag="text-generation",
        tags=["lora", "raglift", tuning],
        eval_results=results or None,
    )


def _name_base(content: Content) -> str:
    model = str(content.settings.get("model", ""))
    return HUB_NAMES.get(model, model)


def _list_results(content: Content, tuning: str) -> list[tuple[str, str, dict[str, Any]]]:
    arms = content.comparison.get("arms") or {}
    return [
        (arm, split, cell)
        for arm in content.arms
        if arm.partition(".")[0] == tuning
        for split in content.splits
        if (cell := (arms[arm] or {}).get(split))
    ]


def _write_body(content: Content, tuning: str, seed: int, name: str) -> str:
    say = speak(content.language)
    logs = [log for log in content.training if (log.tuning, log.seed) == (tuning, seed)]
    blocks = [
        f"# {escape_markdown(name)}",
        f"{escape_markdown(say(f'tuning.{tuning}'))}. {escape_markdown(say('word.seed', seed=seed))}.",
        f"**{escape_markdown(say_verdict(content.comparison, say))}**",
    ]
    if content.a != content.b:
        lift = escape_markdown(say_lift(content.comparison, say))
        blocks.append(f"{quote_code(content.a)} → {quote_code(content.b)}: {lift}")
        blocks += [escape_markdown(sentence) for sentence in say_doubts(content.comparison, say)]
    blocks += [f"## {say('section.arms')}", _draw_results(content, tuning), *_write_training(logs)]
    blocks += [f"## {say('run.settings')}", _draw_settings(content)]
    hashes = [[escape_markdown(f"{file}.jsonl"), quote_code(value)] for file, value in content.hashes.items()]
    blocks += [f"## {say('run.hashes')}", draw_table([say("run.key"), say("run.value")], hashes, right=False)]
    limits = "\n".join(f"- {escape_markdown(sentence)}" for sentence in list_limits(content, say))
    blocks += [f"## {say('section.limits')}", limits, _write_usage(content, name)]
    return "\n\n".join(block for block in blocks if block)


def _draw_results(content: Content, tuning: str) -> str:
    say = speak(content.language)
    rows = [
        [
            quote_code(arm),
            say_split(say, split),
            format_accuracy(cell.get("accuracy")),
            format_interval(cell.get("ci95"), signed=False),
            format_tally(cell.get("correct"), cell.get("total")),
        ]
        for arm, split, cell in _list_results(content, tuning)
    ]
    words = ("arm", "split", "accuracy", "interval", "correct")
    return draw_table([say(f"word.{word}") for word in words], rows) if rows else ""


def _write_training(logs: list[TrainingLog]) -> list[str]:
    return [
        f"loss {format_decimal(log.rows[0].get('loss'), 3)} → {format_decimal(log.rows[-1].get('loss'), 3)} "
        f"({log.rows[-1].get('step')} steps)"
        for log in logs
    ]


def _draw_settings(content: Content) -> str:
    say = speak(content.language)
    shown = ("model", "lora", "train", "prompt")
    kept: dict[str, Any] = {key: content.settings[key] for key in shown if key in content.settings}
    rows = [[escape_markdown(key), quote_code(value)] for key, value in flatten(kept)]
    return draw_table([say("run.key"), say("run.value")], rows, right=False)


def _write_usage(content: Content, name: str) -> str:
    base = _name_base(content)
    if content.model_is_local:
        base = f"path/to/{base}"
    return (
        "```python\n"
        "from peft import PeftModel\n"
        "from transformers import AutoModelForCausalLM\n\n"
        f"model = AutoModelForCausalLM.from_pretrained({base!r})\n"
        f'model = PeftModel.from_pretrained(model, "path/to/{name}")\n'
        "```"
    )
