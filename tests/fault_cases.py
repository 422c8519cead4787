"""The faults: each case disturbs runs of the tiny experiment and says what was lost, mixed or silent."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import time as clock
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

import fault_lab
from fault_lab import CALM, STAGES, Disturbance, Ended, Lab, Row
from raglift.grading.review_log import ReviewLog, build_rows
from raglift.runfolder import recover_lines

NAME_MODEL = ("adapters/rag-sft-seed0/adapter_config", "adapters/sft-seed0/adapter_config", "report.")
LOGS = ("answers", "verdicts of people")
RESUMED = "goes on; equal to the undisturbed run byte for byte"
DAMAGED = {
    "adapter": ("train", "adapters/rag-sft-seed0/adapter_model.safetensors"),
    "index": ("index", "index/**/data/*.lance"),
    "ranking": ("index", "ranking.json"),
    "training log": ("train", "training.rag-sft-seed0.jsonl"),
    "answers": ("answer", "answers.jsonl"),
    "grades": ("grade", "grades.rubric.jsonl"),
    "comparison": ("compare", "comparison.json"),
    "report": ("report", "report.html"),
    "manifest": ("all", "manifest.json"),
}


def judge(lab: Lab, row: Row, ended: Ended, folder: Path, calm: Path, *words: str, code: int | None = None) -> Row:
    """After a disturbance: the words that it had to print, then the same command again against the calm run."""
    if code is not None and ended.code != code:
        row.problems.append(f"silent: exit status {ended.code}, expected {code}: {ended.text[-300:]}")
    row.problems += [f"silent: '{word}' is not said: {ended.text[-400:]}" for word in words if word not in ended.text]
    if "Traceback" in ended.text:
        row.problems.append(f"silent: a traceback: {ended.text[-400:]}")
    before = fault_lab.list_finished(folder)
    again = lab.run(folder)
    if again.code != 0:
        row.problems.append(f"lost: the same command again ended with {again.code}: {again.text[-400:]}")
        return row
    after = fault_lab.list_finished(folder)
    row.problems += [
        f"lost: {name} was finished and made again" for name, value in before.items()
        if name != "answers" and after.get(name) != value
    ]  # fmt: skip
    row.problems += [f"mixed: {found}" for found in fault_lab.compare_folders(folder, calm)]
    return row


def kill_at_random(lab: Lab, calm: Path, seconds: dict[str, float], kills: int) -> Iterator[Row]:
    """SIGKILL at random moments of every stage in turn."""
    draw = random.Random(7)
    rows = {stage: Row("kill -9 at a random moment", stage, RESUMED, 0) for stage in STAGES}
    done = tries = 0
    while done < kills and tries < 2 * kills:
        stage = STAGES[tries % len(STAGES)]
        tries += 1
        folder = lab.make_folder()
        after = max(1e-3, draw.random() * seconds[stage])
        ended = lab.run(folder, Disturbance(stage, fault_lab.kill, after))
        if ended.code == 0:
            continue  # it was over before
        done += 1
        hit = list(ended.stages)[-1] if ended.stages else "start"
        rows[hit].tries += 1
        judge(lab, rows[hit], ended, folder, calm)
        shutil.rmtree(folder.parent)
    yield from (row for row in rows.values() if row.tries)


def stop_by_signal(lab: Lab, calm: Path, seconds: dict[str, float]) -> Iterator[Row]:
    """SIGTERM and Ctrl-C in every stage."""
    for name, action in (("SIGTERM", fault_lab.terminate), ("Ctrl-C", fault_lab.interrupt)):
        for stage in STAGES[1:]:
            folder = lab.make_folder()
            ended = lab.run(folder, Disturbance(stage, action, max(1e-3, seconds[stage] / 3)))
            row = Row(name, stage, "ends with status 130 and says what to type next; " + RESUMED)
            if (folder / "lock").exists():
                row.problems.append("silent: the lock stays behind")
            yield judge(lab, row, ended, folder, calm, "give the same command again", code=130)


def spoil_disk(lab: Lab, calm: Path) -> Iterator[Row]:
    """A small disk that is full, full but for a page, or read-only from the beginning of each stage."""
    disk = lab.root / "disk" / "run"  # the run folder alone: what the process prints goes elsewhere
    disk.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        yield Row("disk full or read-only", "all", f"skipped: no small disk can be mounted ({mounted.stderr.strip()})")
        return
    faults = {
        "disk full": (fault_lab.fill_disk, "free some space"),
        "disk full but for 4 KiB": (fault_lab.fill_all_but_a_page, "free some space"),
        "disk read-only": (fault_lab.forbid_writing, "choose a folder that can be written"),
    }
    try:
        for fault, (action, words) in faults.items():
            for stage in STAGES[1:]:
                subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
                for left in disk.iterdir():
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
                ended = lab.run(disk, Disturbance(stage, action))
                subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
                (disk / ".ballast").unlink(missing_ok=True)
                row = Row(fault, stage, "stops, names the file and what to do; " + RESUMED)
                if ended.code == 0 and fault.endswith("KiB"):
                    row.outcome = "what it writes fits in: it goes on"
                    row.problems += [f"mixed: {found}" for found in fault_lab.compare_folders(disk, calm)]
                    yield row
                else:
                    yield judge(lab, row, ended, disk, calm, words, code=1)
    finally:
        subprocess.run(["umount", str(disk)], check=False)


def flip(file: Path) -> None:
    """One bit of the byte in the middle."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def truncate(file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])


def tear(file: Path) -> None:
    """The end of the last line."""
    file.write_bytes(file.read_bytes()[:-20])


def drop_line(file: Path) -> None:
    """The whole last line."""
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-1]))


def list_spoils(name: str) -> list[tuple[str, Callable[[Path], None]]]:
    spoils = [("one bit flipped in the ", flip), ("half of the file lost: ", truncate)]
    return spoils + ([("last line torn: ", tear), ("last line lost: ", drop_line)] if name in LOGS else [])


def damage_artifacts(lab: Lab, calm: Path, only: tuple[str, ...] = tuple(DAMAGED)) -> Iterator[Row]:
    """One flipped bit in, half of, and where lines are appended the last line of every kind of artifact."""
    for name in only:
        stage, pattern = DAMAGED[name]
        for fault, spoil in list_spoils(name):
            folder = lab.copy(calm)
            file = next(iter(sorted(folder.glob(pattern))))
            spoil(file)
            before = fault_lab.list_finished(folder)
            ended = lab.run(folder)
            row = Row(fault + name, stage, "noticed and named; just that is made again, equal to before")
            if name == "manifest":
                row.outcome = "its copy is taken; nothing is made again"
            elif file.name not in ended.text:
                row.problems.append(f"silent: {file.name} is not named: {ended.text[-500:]}")
            if ended.code != 0:
                row.problems.append(f"lost: exit status {ended.code}: {ended.text[-500:]}")
            row.problems += [f"mixed: {found}" for found in fault_lab.compare_folders(folder, calm)]
            after = fault_lab.list_finished(folder)
            row.problems += [
                f"lost: {key} was whole and made again" for key, value in before.items()
                if key != "answers" and "rag-sft" not in key and after.get(key) != value
            ]  # fmt: skip
            made, planned = fault_lab.count_made(ended.text), int(after["answers"])
            if (made > 0) != (name == "answers") or made == planned:
                row.problems.append(f"lost: {made} of {planned} answers were made again")
            yield row


def damage_tuned_search(lab: Lab, calm: Path) -> Iterator[Row]:
    """A tuned search whose file changes or goes."""
    tuned = lab.copy(calm)
    lab.run(tuned, CALM, "tune-retriever", str(lab.source), "--run", str(tuned))
    lab.run(tuned)
    for fault, spoil in (*list_spoils("tuned search"), ("file lost: ", Path.unlink)):
        folder = lab.copy(tuned)
        spoil(folder / "retriever" / "tuned.json")
        ended = lab.run(folder)
        row = Row(fault + "tuned search", "index", "noticed and named; just that is made again, equal to before")
        row.problems += [] if "tuned.json is damaged" in ended.text else [f"silent: {ended.text[-400:]}"]
        row.problems += [f"lost: {ended.text[-400:]}"] if ended.code else []
        row.problems += [f"mixed: {found}" for found in fault_lab.compare_folders(folder, tuned)]
        yield row


def damage_verdicts(lab: Lab, calm: Path) -> Iterator[Row]:
    """What people have said cannot be made again: what is left of it counts, what is lost is named."""
    keys = [str(row["key"]) for row in recover_lines(calm / "answers.jsonl")[:4]]
    for fault, spoil in (*list_spoils("verdicts of people"), ("file lost: ", Path.unlink)):
        folder = lab.copy(calm)
        file = folder / "grades.human.jsonl"
        for key in keys:
            ReviewLog(file).append(build_rows([key], "q-recall", "kim", "grade", "correct", ""))
        spoil(file)
        left = len(recover_lines(file))
        ended = lab.run(folder)
        row = Row(fault + "verdicts of people", "review", "noticed and named; what is left of them counts")
        row.problems += [] if "grades.human.jsonl is damaged" in ended.text else [f"silent: {ended.text[-400:]}"]
        row.problems += [f"lost: {ended.text[-400:]}"] if ended.code or len(recover_lines(file)) != left else []
        found = fault_lab.compare_folders(folder, calm)  # the comparison rightly changes: it weighs people's verdicts
        row.problems += [f"mixed: {name}" for name in found if name.startswith(("answers", "ranking", "grades.rubric"))]
        yield row


def meet_another_process(lab: Lab, calm: Path) -> Iterator[Row]:
    """A second process on a run folder, a lock of a killed one, a lock whose process number lives again."""
    folder = lab.make_folder()
    first = lab.start(folder, Disturbance("train", pause))
    while not (folder.parent / "paused").exists() and first.is_alive():
        clock.sleep(0.05)
    settings = (folder / "manifest.json").read_bytes()
    second = lab.make_folder().parent / "other" / "run"
    refused = lab.run(second, CALM, "run", str(lab.source), "--run", str(folder), "--set", "answer.samples=1")
    row = Row("a second process", "train", "refused, with who holds the folder; the first goes on undisturbed")
    if refused.code != 1 or f"process {first.pid}" not in refused.text:
        row.problems.append(f"silent: {refused.code}: {refused.text[-300:]}")
    if (folder / "manifest.json").read_bytes() != settings:
        row.problems.append("mixed: the refused process changed the manifest")
    (folder.parent / "paused").unlink()
    ended = lab.wait(first, folder)
    row.problems += [f"lost: {ended.text[-300:]}"] if ended.code else []
    row.problems += [f"mixed: {found}" for found in fault_lab.compare_folders(folder, calm)]
    yield row
    folder = lab.make_folder()
    lab.run(folder, Disturbance("answer", fault_lab.kill))
    row = Row("lock of a killed process", "answer", "recognised as stale, said, taken over; " + RESUMED)
    again = lab.run(folder)
    row.problems += [] if "which has ended; taken over" in again.text else [f"silent: {again.text[-300:]}"]
    row.problems += [f"mixed: {found}" for found in fault_lab.compare_folders(folder, calm)]
    yield row
    folder = lab.copy(calm)
    (folder / "lock").write_text(json.dumps({"process": os.getpid(), "host": "here"}), encoding="utf-8")
    ended = lab.run(folder)
    row = Row("lock with the number of another living process", "all", "taken over: the kernel knows it is free")
    row.problems += [f"lost: {ended.text[-300:]}"] if ended.code else []
    yield row


def pause(folder: Path) -> None:
    """Wait until the file `paused` is gone."""
    marker = folder.parent / "paused"
    marker.write_text("", encoding="utf-8")
    while marker.exists():
        clock.sleep(0.05)


def change_inputs(lab: Lab, calm: Path) -> Iterator[Row]:
    """Something changes between two calls: what depends on it is done again, the rest is kept, and why is said."""
    every = fault_lab.list_finished(calm)["answers"]
    cases: dict[str, tuple[Callable[[Path, Path], None] | None, tuple[str, ...], int, tuple[str, ...]]] = {
        # what changed: (edit, options, answers made again, words)
        "question": (partial(edit_row, "questions.jsonl", 0, "question", "리콜이란 게 뭐야?"), (), 10,
                     ("q-recall: the question changed",)),
        "passage": (partial(edit_row, "passages.jsonl", 3, "text", "Dropout (드롭아웃) : 뉴런을 끄기"), (), -1,
                    ("passages changed: 1 new or altered", "q-dropout", "passage in the prompt changed")),
        "prompt": (None, ("prompt.answer_mark='\\n### 답:'",), every, ("prompt.answer_mark", "train sft seed 0 again")),
        "training setting": (None, ("train.epochs=3",), -1, ("train sft seed 0 again: train.epochs: 2, now 3",)),
        "answer setting": (None, ("answer.temperature=0.9",), every, ("answer.temperature: 0.6, now 0.9",)),
        "rubric": (partial(edit_row, "questions.jsonl", 1, "reference", "맞은 비율이야!"), (), 0,
                   ("grade (rubric) again: rubrics changed",)),
        "adapter": (swap_adapter, (), 0, ("adapter_model.safetensors is damaged", "train sft seed 0 again")),
        "model": (alter_model, (), every, ("train sft seed 0 again: model changed",)),
        "place of the model": (move_model, (), 0, ()),
        "nothing": (None, (), 0, ()),
    }  # fmt: skip
    for name, (edit, options, made, words) in cases.items():
        other = Lab(lab.root / f"changed-{name.replace(' ', '-')}", lab.source)
        other.source = shutil.copytree(lab.source, other.root / "tiny")
        folder = other.make_folder()
        shutil.copytree(calm, folder)
        if edit is not None:
            edit(other.source, folder)
        settings = [word for option in options for word in ("--set", option)]
        ended = other.run(folder, CALM, "run", str(other.source), "--run", str(folder), *settings)
        row = Row(f"changed between two calls: {name}", "all", "exactly what depends on it is done again; why is said")
        row.problems += [f"lost: {ended.text[-400:]}"] if ended.code else []
        row.problems += [
            f"silent: '{word}' is not said: {ended.text[-900:]}" for word in words if word not in ended.text
        ]
        count = fault_lab.count_made(ended.text)
        if made >= 0 and count != made:
            row.problems.append(f"mixed: {count} answers made again, expected {made}")
        trained = "train sft" in ended.text or "\ntrain: " in ended.text
        if trained != (name in ("prompt", "training setting", "adapter", "model")):
            row.problems.append(f"lost: trained again: {trained}")
        fresh = other.make_folder()
        again = other.run(fresh, CALM, "run", str(other.source), "--run", str(fresh), *settings)
        row.problems += [f"lost: {again.text[-400:]}"] if again.code else []
        row.problems += [
            f"mixed: {found}" for found in fault_lab.compare_folders(folder, fresh)
            if not found.startswith("answers.") and not (name == "place of the model" and found.startswith(NAME_MODEL))
        ]  # fmt: skip
        yield row


def swap_adapter(source: Path, folder: Path) -> None:
    """One tuning's adapter in the other's place."""
    mine, other = (folder / "adapters" / name / "adapter_model.safetensors" for name in ("sft-seed0", "rag-sft-seed0"))
    shutil.copyfile(other, mine)


def move_model(source: Path, folder: Path) -> None:
    """The same model in another folder."""
    settings = source / "experiment.yaml"
    text = settings.read_text(encoding="utf-8")
    place = text.partition("model: ")[2].partition("\n")[0]
    shutil.copytree(place, source / "model")
    settings.write_text(text.replace(place, str(source / "model")), encoding="utf-8")


def alter_model(source: Path, folder: Path) -> None:
    """A model with other weights."""
    move_model(source, folder)
    file = source / "model" / "model.safetensors"
    save_file({name: tensor * 1.01 for name, tensor in load_file(file).items()}, file, {"format": "pt"})


def edit_row(file: str, number: int, key: str, value: Any, source: Path, folder: Path) -> None:
    lines = (source / file).read_text(encoding="utf-8").splitlines()
    row = {**json.loads(lines[number]), key: value}
    lines[number] = json.dumps(row, ensure_ascii=False)
    (source / file).write_text("\n".join(lines) + "\n", encoding="utf-8")


def run_out_of_memory(lab: Lab, calm: Path) -> Iterator[Row]:
    """The model call says that memory is out, for more rows than fit."""
    folder = lab.make_folder()
    ended = lab.run(folder, Disturbance(patch=fault_lab.limit_answering))
    row = Row("out of memory", "answer", "half as many questions at once; the same answers")
    row.problems += [] if "out of memory: " in ended.text else [f"silent: {ended.text[-300:]}"]
    row.problems += [f"lost: {ended.text[-300:]}"] if ended.code else []
    row.problems += [f"mixed: {found}" for found in fault_lab.compare_folders(folder, calm)]
    yield row
    folder = lab.make_folder()
    ended = lab.run(folder, Disturbance(patch=fault_lab.limit_training))
    row = Row("out of memory", "train", "trains with half the batch and twice the accumulation, and says so")
    row.problems += [] if "train.batch_size=1, train.accumulation=2" in ended.text else [f"silent: {ended.text[-300:]}"]
    row.problems += [f"lost: {ended.text[-300:]}"] if ended.code else []
    yield row
    for stage, patch in (("answer", fault_lab.refuse_answering), ("train", fault_lab.refuse_training)):
        folder = lab.make_folder()
        ended = lab.run(folder, Disturbance(patch=patch))
        row = Row("out of memory even for one row", stage, "stops and says what to lower; " + RESUMED)
        yield judge(lab, row, ended, folder, calm, "out of memory while", "to do:", code=1)


def leave_the_numbers(lab: Lab, calm: Path) -> Iterator[Row]:
    """A learning rate at which the loss is NaN or explodes, and weights that are NaN between two looks at the loss."""
    for name, options in (
        ("loss that is no number or explodes", ("train.learning_rate=1e30", "train.max_gradient_norm=1e30")),
        ("weights that are no numbers after the last logged step",
         ("train.learning_rate=1e30", "train.max_gradient_norm=1e30", "train.log_every=100")),
    ):  # fmt: skip
        folder = lab.make_folder()
        words = [word for option in options for word in ("--set", option)]
        ended = lab.run(folder, CALM, "run", str(lab.source), "--run", str(folder), *words)
        row = Row(name, "train", "stops, keeps the last good checkpoint, says what to try; " + RESUMED)
        if list((folder / "adapters").glob("*/*.safetensors")):
            row.problems.append("mixed: an adapter was written")
        yield judge(lab, row, ended, folder, calm, "lower train.learning_rate", code=1)


def stop_in_training(lab: Lab, calm: Path) -> Iterator[Row]:
    """Training that ends in its fifth step goes on from the fourth's checkpoint, or from the third's."""
    cases = {
        "loss that is no number in one step": (fault_lab.lose_loss, None, 4, 1),
        "killed between two checkpoints": (fault_lab.kill_in_step, None, 4, -9),
        "killed, and one bit flipped in the checkpoint": (fault_lab.kill_in_step, flip, 3, -9),
    }
    whole = fault_lab.read_steps(calm)
    for name, (patch, spoil, kept, code) in cases.items():
        folder = lab.make_folder()
        ended = lab.run(folder, Disturbance(patch=patch))
        row = Row(name, "train", f"goes on from step {kept} of 6; adapters equal to the undisturbed ones")
        newest = sorted(folder.glob("checkpoints/*/checkpoint-4/optimizer.pt"))
        if spoil is not None:
            spoil(newest[0])
        before = fault_lab.read_steps(folder)
        judge(lab, row, ended, folder, calm, *(("lower train.learning_rate",) if code == 1 else ()), code=code)
        again = fault_lab.read_steps(folder) - before
        if again != whole - kept:
            row.problems.append(f"lost: {again} steps were trained again, expected {whole - kept}")
        yield row


def lose_the_hub(lab: Lab, calm: Path) -> Iterator[Row]:
    """A model that only the hub has, without a network."""
    folder = lab.make_folder()
    words = ("run", str(lab.source), "--run", str(folder), "--set", "model=nobody/nothing-1b")
    ended = lab.run(folder, CALM, *words)
    row = Row("hub offline", "start", "stops with what was tried and what to do; " + RESUMED)
    yield judge(lab, row, ended, folder, calm, "cannot be loaded from hub", "to do: offline", code=2)


def jump_in_time(lab: Lab, calm: Path) -> Iterator[Row]:
    """The wall clock jumps by a day, back and forth, at every look at it."""
    folder = lab.make_folder()
    ended = lab.run(folder, Disturbance(patch=fault_lab.jump_clock))
    row = Row("clock that jumps by a day", "all", "equal to the undisturbed run: only the monotonic clock is used")
    row.problems += [f"lost: {ended.text[-300:]}"] if ended.code else []
    row.problems += [f"mixed: {found}" for found in fault_lab.compare_folders(folder, calm)]
    yield row
