"""The files of a new experiment: written beside their place, then moved there whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from raglift.config import DEFAULT_ARMS
from raglift.datasets import FILL_IN, dump_line, write_new_folder
from raglift.grading.draft import rubric_as_json
from raglift.importing.building import BuiltExperiment, name_passages
from raglift.importing.rows import Material
from raglift.records import Passage, Question

ENGLISH_PROMPT = {
    "with_passage": "(Information) {passage} (Question) {question}",
    "answer_mark": "\n### Answer:",
    "not_found": "No matching information was found",
}


class _SettingsDumper(yaml.SafeDumper):
    """Line breaks as \\n between double quotes, on one line."""


_SettingsDumper.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, '"' if "\n" in text else None)
)


@dataclass(frozen=True)
class NewExperiment:
    """What `init` made: sizes, and what was done with how many rows."""

    folder: Path
    passages: int
    examples: int
    questions: Mapping[str, int]
    draft_rubrics: int
    notices: tuple[str, ...]
    is_template: bool = False


def write_built(folder: Path, built: BuiltExperiment) -> NewExperiment:
    """A whole experiment from built records; InputError when something lies there already."""
    splits = built.count_splits()
    texts = [question.question for question in built.questions]
    write_new_folder(
        folder,
        {
            "experiment.yaml": write_settings(built.sources, texts, splits),
            "passages.jsonl": _join({"id": one.id, "text": one.text} for one in built.passages),
            "train.jsonl": _join(
                {"question": one.question, "answer": one.answer, "passage_id": one.passage_id} for one in built.examples
            ),
            "questions.jsonl": _join(question_as_json(one) for one in built.questions),
        },
    )
    return NewExperiment(folder, len(built.passages), len(built.examples), splits, built.count_drafts(), built.notices)


def write_templates(folder: Path, material: Material) -> NewExperiment:
    """Passages from documents, and rows to be filled in: nothing but the user can say what to ask of them."""
    passages, _ = name_passages([], material.documents)
    first, second = passages[0], passages[min(1, len(passages) - 1)]
    write_new_folder(
        folder,
        {
            "experiment.yaml": write_settings(material.sources, [one.text for one in passages], {"seen": 1}),
            "passages.jsonl": _join({"id": one.id, "text": one.text} for one in passages),
            "train.jsonl": _join(_list_train_templates(first)),
            "questions.jsonl": _join(_list_question_templates(first, second)),
        },
    )
    return NewExperiment(folder, len(passages), 0, {}, 0, tuple(material.notices), is_template=True)


def write_settings(sources: Sequence[str], texts: Sequence[str], splits: Mapping[str, int]) -> str:
    """`experiment.yaml`: the headline on the split with most questions, the prompt's words in the data's language."""
    split = "seen" if splits.get("seen", 0) >= splits.get("unseen", 0) else "unseen"
    korean = is_mostly_korean(texts)
    settings: dict[str, Any] = {
        "model": "gemma3-270m",
        "compare": {"a": "sft.none", "b": "rag-sft.oracle", "split": split},
        "arms": list(DEFAULT_ARMS),
        "report": {"language": "ko" if korean else "en"},
    }
    if not korean:
        settings["prompt"] = ENGLISH_PROMPT
    head = (
        f"# Made by `raglift init` from {', '.join(sources)}.\n"
        "# Every setting that is not here has the founding experiment's value; docs/settings.md names them.\n"
    )
    return head + yaml.dump(settings, Dumper=_SettingsDumper, allow_unicode=True, sort_keys=False)


def is_mostly_korean(texts: Sequence[str]) -> bool:
    """Whether at least a third of the letters are Hangul (Korean texts hold many Latin terms)."""
    kinds = Counter("가" <= letter <= "힣" for text in texts for letter in text if letter.isalpha())
    return kinds[True] * 3 >= kinds.total() > 0


def question_as_json(question: Question) -> dict[str, Any]:
    """A question as it stands in questions.jsonl."""
    return {
        "id": question.id,
        "question": question.question,
        "passage_id": question.passage_id,
        "split": question.split,
        "reference": question.reference,
        "rubric": rubric_as_json(question.rubric),
    }


def _list_train_templates(passage: Passage) -> list[dict[str, Any]]:
    text = {"question": "a question that this passage answers", "answer": "its answer in a sentence or two"}
    return [{key: f"{FILL_IN}{value}>" for key, value in text.items()} | {"passage_id": passage.id}]


def _list_question_templates(first: Passage, second: Passage) -> list[dict[str, Any]]:
    rows = [
        ("seen-1", first.id, "seen", "another question on a passage of train.jsonl"),
        ("unseen-1", second.id, "unseen", "a question on a passage that is not in train.jsonl"),
        ("absent-1", None, "absent", "a question that no passage answers"),
    ]
    return [
        {
            "id": name,
            "question": f"{FILL_IN}{text}>",
            "passage_id": passage_id,
            "split": split,
            "reference": f"{FILL_IN}the ideal answer>",
        }
        for name, passage_id, split, text in rows
    ]


def _join(rows: Any) -> str:
    return "".join(dump_line(row) for row in rows)
