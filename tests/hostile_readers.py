"""Every reader of foreign files and requests as `bytes -> None`: only the package's own errors may come out."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

from raglift.answers import read_keys
from raglift.comparison_files import compare_table
from raglift.config import load_config
from raglift.datasets import load_experiment, parse_rubric, read_jsonl
from raglift.errors import RagliftError
from raglift.grading.grades import read_grades, read_texts
from raglift.grading.judge_prompt import UnreadableReplyError, read_reply
from raglift.grading.review_server import RefusedError, read_command
from raglift.grading.review_table import read_rows
from raglift.grading.rubric import check_rubric, grade_rubric
from raglift.importing.documents import cut_document
from raglift.importing.founding import read_founding
from raglift.importing.mapping import map_rows
from raglift.importing.tables import read_table
from raglift.models.server import CallFailedError, read_completion
from raglift.records import Question, Rubric
from raglift.retrieval.ranking import read_ranking
from raglift.retrieval.tuned import load_tuned
from raglift.runfolder import RunFolder, recover_lines
from raglift.serve.failures import ApiError
from raglift.serve.requests import ChatRequest, EmbeddingRequest, FeedbackRequest, parse_body

OUTSIDE = Path(tempfile.mkdtemp(prefix="raglift-readers."))
FOLDER = OUTSIDE / "above" / "readers"  # two levels of our own, so that `../../x` would be seen
EXPECTED = (RagliftError, ApiError, UnreadableReplyError, CallFailedError, RefusedError)
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


def read_counts(data: bytes) -> None:
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
    read_keys(put("run/plan.json", data), "")
    put("run/manifest.json", data)
    RunFolder(FOLDER / "run").list_damage()


def read_own_grades(data: bytes) -> None:
    line = b'{"key": "k", "question_id": "q", "verdict": "correct", "reason": "", "grader": "rubric"}\n'
    read_grades(put("run/grades.rubric.jsonl", line + data))


def read_review_request(data: bytes) -> None:
    read_command(data)


def read_answers_file(data: bytes) -> None:
    question = Question("q", "리콜이 뭐야?", "p", "seen", "비율이야!", Rubric((("비율",),)))
    read_texts(put("texts.jsonl", data), [question])


def read_import(data: bytes) -> None:
    """A table of one of the kinds, by the first byte; then as questions."""
    kinds = (".csv", ".json", ".jsonl", ".founding.csv")
    kind = kinds[data[0] % len(kinds)] if data else ".csv"
    file = put(f"import{kind}", data[1:])
    if kind == ".founding.csv":
        read_founding(file, file)
    else:
        map_rows(read_table(str(file)), {})


def read_document(data: bytes) -> None:
    cut_document(put("document.txt" if data[:1] == b"\1" else "document.md", data[1:]), 40)


def read_pdf(data: bytes) -> None:
    cut_document(put("document.pdf", data), 40)


def read_parquet_file(data: bytes) -> None:
    map_rows(read_table(str(put("table.parquet", data))), {})


def read_tuned(data: bytes) -> None:
    put("tuned/adapter.safetensors", data)
    put("tuned/tuned.json", data)
    load_tuned(FOLDER / "tuned", "e")


def read_checkpoint(data: bytes) -> None:
    from raglift.models.checkpoints import find_checkpoint  # brings torch

    put("checkpoints/checkpoint-1/checksums.json", data)
    find_checkpoint(FOLDER / "checkpoints")


def make_pdf(content: bytes) -> bytes:
    """A page with a content stream; readers find the objects without a table of their places."""
    return (
        b"%%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
        b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>endobj\n"
        b"4 0 obj<</Length %d>>stream\n%s\nendstream endobj\n"
        % (len(content), content)
        + b"5 0 obj<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>endobj\ntrailer<</Root 1 0 R>>\n"
    )


READERS: dict[str, Callable[[bytes], None]] = {
    "config": read_config,
    "override": read_override,
    "dataset": read_dataset,
    "lines": read_lines,
    "table": read_counts,
    "any-table": read_any_table,
    "review": read_review,
    "rubric": read_rubric,
    "adapter": read_adapter,
    "chat": read_chat,
    "requests": read_other_requests,
    "review-requests": read_review_request,
    "judge": read_judge,
    "server": read_server,
    "run": read_run,
    "grades": read_own_grades,
    "answers": read_answers_file,
    "import": read_import,
    "documents": read_document,
    "pdf": read_pdf,
    "parquet": read_parquet_file,
    "tuned": read_tuned,
    "checkpoint": read_checkpoint,
}
SEEDS: dict[str, list[bytes]] = {
    "config": [b"name: x\narms: all\ntrain: {epochs: 2}\n", b"a: &x [1]\nb: *x\n", b"? [a]\n: b\n", b"2001-99-99: 1\n"],
    "override": [b"train.epochs=5", b"a.b.c=[", b"arms=2001-99-99", b"name=!!int ''"],
    "dataset": [bytes([n]) + text.encode() for n, text in enumerate((PASSAGE, EXAMPLE, QUESTION))],
    "lines": [b'{"a": 1}\n', b"[" * 3000, b"9" * 5000],
    "table": [b"x,1,4,2,4\n", b"x,1e3,4,2,4\n", b"x," + b"9" * 30 + b"," + b"9" * 30 + b",2,4\n", b'"x\n",1,4'],
    "any-table": [b"question,a_correct\nx,1\n", b"\xff\xfe", b'"'],
    "review": [b"k,correct,note\n", b"k,\xeb\xa7\x9e\xec\x9d\x8c,=1+1\n", b"k\n"],
    "rubric": [b"re: (a+)+$\naaaa", b"formula: TP / (TP + FN)\nTP/(TP+FN)", "A & B … C\nA B C".encode()],
    "adapter": [
        json.dumps({"peft_type": "LORA", "target_modules": ["q_proj"]}).encode(),
        b"[]",
        b"{}",
    ],
    "chat": [b'{"model": "sft.none", "messages": [{"role": "user", "content": "x"}], "n": 1}', b'{"stop": ["a"]}'],
    "requests": [b'{"model": "e", "input": ["x"]}', b'{"key": "k", "verdict": "correct"}'],
    "review-requests": [b'{"item": "x", "action": "grade", "verdict": "correct", "note": ""}', b"[]", b"[" * 3000],
    "judge": [b'{"code": "code", "reason": "", "verdict": "correct"}', b"```json\n{}\n```", b"9" * 5000],
    "server": [b'{"choices": [{"message": {"content": "x"}}], "usage": {}}', b"null", b'{"choices": [1]}'],
    "run": [b'{"stages": {"train:x": {"files": {"a": "b"}}}}', b'{"a": 1, "check": "0000000000000000"}\n'],
    "answers": [b'{"question_id": "q", "answer": "x"}\n', b'{"question": "\xeb\xa6\xac", "answer": 1}\n'],
    "import": [
        b"\0question,answer,passage,split,rubric\nx,y,z,train,\n",
        b'\1[{"question": ["x"], "answer": {"a": 1}, "passage": null, "rubric": "[]"}]',
        b'\2{"question": "x", "answer": "y", "passage": "z", "rubric": {"must": []}}\n',
        b"\3data_type,user_question,rag_retrieved_data,output_message\ntrain,x,y,z\n",
        b"\0\xff\xfeq\0,\0a\0",
        b"\0question,answer,passage,rubric\nx,y,z," + b"[" * 3000,
    ],
    "documents": [b"\0# x\n\ny\n\n- z\n", b"\1" + "가나다. 라마바.\r\n".encode("cp949")],
    "pdf": [make_pdf(b"BT /F 9 Tf (text) Tj ET"), b"%PDF-1.4\n1 0 obj<<>>endobj\n"],
    "parquet": [b"PAR1", b"PAR1" + b"\0" * 40 + b"PAR1"],
    "tuned": [
        b'{"embedder": "e", "search": "hybrid", "weight": 0.2, "threshold": 0.1, "model": null, "adapted": false}'
    ],
    "checkpoint": [b'{"trainer_state.json": "00"}', b"{}", b"[]"],
    "grades": [b'{"key": "k"}\n', b'{"key": [], "verdict": 1}\n', b'{"key": "k", "author": {}, "verdict": "x"}\n'],
}


def feed(name: str, data: bytes) -> None:
    """Let one reader read; what it may raise is caught, everything else is a finding."""
    try:
        READERS[name](data)
    except EXPECTED:
        return
