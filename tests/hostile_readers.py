"""Every reader of foreign files and requests as `bytes -> None`: only the package's own errors may come out."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

from raglift.comparison_files import compare_table
from raglift.config import load_config
from raglift.datasets import load_experiment, parse_rubric, read_jsonl
from raglift.errors import RagliftError
from raglift.grading.grades import read_grades
from raglift.grading.judge_prompt import UnreadableReplyError, read_reply
from raglift.grading.review_table import read_rows
from raglift.grading.rubric import check_rubric, grade_rubric
from raglift.models.server import CallFailedError, read_completion
from raglift.retrieval.ranking import read_ranking
from raglift.runfolder import RunFolder, recover_lines
from raglift.serve.failures import ApiError
from raglift.serve.requests import ChatRequest, EmbeddingRequest, FeedbackRequest, parse_body

OUTSIDE = Path(tempfile.mkdtemp(prefix="raglift-readers."))
FOLDER = OUTSIDE / "above" / "readers"  # two levels of our own, so that `../../x` would be seen
EXPECTED = (RagliftError, ApiError, UnreadableReplyError, CallFailedError)
PASSAGE = '{"id": "p", "text": "Recall (재현율) : TP / (TP + FN)"}\n'
EXAMPLE = '{"question": "재현율?", "answer": "비율이야!", "passage_id": "p"}\n'
QUESTION = (
    '{"id": "q", "question": "리콜이 뭐야?", "passage_id": "p", "split": "seen", "reference": "비율이야!", '
    '"rubric": {"must": [["비율"]], "pass": ["비율이야!"], "fail": ["몰라!"]}}\n'
)


def put(name: str, data: bytes) -> Path:
    file = FOLDER / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return file


def read_config(data: bytes) -> None:
    load_config(put("experiment.yaml", data))


def read_override(data: bytes) -> None:
    load_config(put("plain/experiment.yaml", b"name: x\n"), [data.decode("utf-8", "surrogateescape")])


def read_dataset(data: bytes) -> None:
    """One of the three files is hostile, by the first byte."""
    names = ("passages.jsonl", "train.jsonl", "questions.jsonl")
    texts = dict(zip(names, (PASSAGE, EXAMPLE, QUESTION), strict=True))
    for number, name in enumerate(names):
        text = texts[name].encode()
        put(f"data/{name}", text + data[1:] if data[:1] and data[0] % 3 == number else text)
    load_experiment(FOLDER / "data", "x")


def read_lines(data: bytes) -> None:
    list(read_jsonl(put("lines.jsonl", data)))


def read_table(data: bytes) -> None:
    compare_table(put("table.csv", b"question,a_correct,a_total,b_correct,b_total\n" + data), "a", "b")


def read_any_table(data: bytes) -> None:
    compare_table(put("any.csv", data), "a", "b")


def read_review(data: bytes) -> None:
    review = SimpleNamespace(find_item=lambda key: SimpleNamespace(id=key))
    list(read_rows(review, put("review.csv", b"key,verdict,note\n" + data)))  # type: ignore[arg-type]


def read_rubric(data: bytes) -> None:
    """A rubric's pattern, and one answer that it grades."""
    text = data.decode("utf-8", "surrogateescape")
    pattern, _, answer = text.partition("\n")
    rubric = parse_rubric({"must": [[pattern]], "must_not": [pattern], "pass": [answer], "fail": [pattern]}, "x")
    check_rubric(rubric, answer)
    grade_rubric(rubric, answer + answer)


def read_adapter(data: bytes) -> None:
    from raglift.models.adapters import check_adapter_files  # brings torch

    put("adapter/adapter_model.safetensors", b"")
    put("adapter/adapter_config.json", data)
    check_adapter_files(FOLDER / "adapter")


def read_chat(data: bytes) -> None:
    body = parse_body(data, ChatRequest)
    body.list_stops()
    body.find_question()


def read_other_requests(data: bytes) -> None:
    for model in (EmbeddingRequest, FeedbackRequest):
        try:
            parse_body(data, model)
        except ApiError:
            continue


def read_judge(data: bytes) -> None:
    read_reply(data.decode("utf-8", "surrogateescape"), "code")


def read_server(data: bytes) -> None:
    read_completion(data.decode("utf-8", "surrogateescape"))


def read_run(data: bytes) -> None:
    """A run folder's own files, torn or written by another hand."""
    recover_lines(put("run/answers.jsonl", data))
    read_ranking(put("run/ranking.json", data))
    put("run/manifest.json", data)
    RunFolder(FOLDER / "run").list_damage()


def read_own_grades(data: bytes) -> None:
    line = b'{"key": "k", "question_id": "q", "verdict": "correct", "reason": "", "grader": "rubric"}\n'
    read_grades(put("run/grades.rubric.jsonl", line + data))


READERS: dict[str, Callable[[bytes], None]] = {
    "config": read_config,
    "override": read_override,
    "dataset": read_dataset,
    "lines": read_lines,
    "table": read_table,
    "any table": read_any_table,
    "review": read_review,
    "rubric": read_rubric,
    "adapter": read_adapter,
    "chat": read_chat,
    "other requests": read_other_requests,
    "judge": read_judge,
    "server": read_server,
    "run": read_run,
    "grades": read_own_grades,
}
SEEDS: dict[str, list[bytes]] = {
    "config": [b"name: x\narms: all\ntrain: {epochs: 2}\n", b"a: &x [1]\nb: *x\n", b"? [a]\n: b\n", b"2001-99-99: 1\n"],
    "override": [b"train.epochs=5", b"a.b.c=[", b"arms=2001-99-99", b"name=!!int ''"],
    "dataset": [bytes([n]) + text.encode() for n, text in enumerate((PASSAGE, EXAMPLE, QUESTION))],
    "lines": [b'{"a": 1}\n', b"[" * 3000, b"9" * 5000],
    "table": [b"x,1,4,2,4\n", b"x,1e3,4,2,4\n", b"x," + b"9" * 30 + b"," + b"9" * 30 + b",2,4\n", b'"x\n",1,4'],
    "any table": [b"question,a_correct\nx,1\n", b"\xff\xfe", b'"'],
    "review": [b"k,correct,note\n", b"k,\xeb\xa7\x9e\xec\x9d\x8c,=1+1\n", b"k\n"],
    "rubric": [b"re: (a+)+$\naaaa", b"formula: TP / (TP + FN)\nTP/(TP+FN)", "A & B … C\nA B C".encode()],
    "adapter": [
        json.dumps({"peft_type": "LORA", "target_modules": ["q_proj"]}).encode(),
        b"[]",
        b"{}",
    ],
    "chat": [b'{"model": "sft.none", "messages": [{"role": "user", "content": "x"}], "n": 1}', b'{"stop": ["a"]}'],
    "other requests": [b'{"model": "e", "input": ["x"]}', b'{"key": "k", "verdict": "correct"}'],
    "judge": [b'{"code": "code", "reason": "", "verdict": "correct"}', b"```json\n{}\n```", b"9" * 5000],
    "server": [b'{"choices": [{"message": {"content": "x"}}], "usage": {}}', b"null", b'{"choices": [1]}'],
    "run": [b'{"stages": {"train:x": {"files": {"a": "b"}}}}', b'{"a": 1, "check": "0000000000000000"}\n'],
    "grades": [b'{"key": "k"}\n', b'{"key": [], "verdict": 1}\n', b'{"key": "k", "author": {}, "verdict": "x"}\n'],
}


def feed(name: str, data: bytes) -> None:
    """Let one reader read; what it may raise is caught, everything else is a finding."""
    try:
        READERS[name](data)
    except EXPECTED:
        return
