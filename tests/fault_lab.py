"""Runs of the tiny experiment in processes of their own, disturbed on purpose, and what they leave behind.

Clocks and memory counters stand still in these processes: whatever two runs write has to be equal byte for byte.
"""

from __future__ import annotations

import importlib
import itertools
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

import raglift.cli
from raglift import answering, experiment, progress, training
from raglift.models import generation
from raglift.models.trainer import AnswerTrainer
from raglift.retrieval.embedders import EMBEDDERS
from raglift.retrieval.tokens import list_tokens
from raglift.runfolder import RunFolder, recover_lines
from raglift.shelf import local
from retrieval_fixture import LetterEmbedder

# Loaded once, for all processes that are forked from this one.
list_tokens("데우기")
for name in ("lance_namespace", "pyarrow", "transformers.models.llama.modeling_llama"):
    importlib.import_module(name)

STAGES = ("start", "index", "train", "answer", "grade", "compare", "report")
UNSTABLE = ("index/", "manifest.json", ".manifest.copy.json", "lock", "moments")
FULL = 1 << 16  # bytes of a block of ballast


@dataclass(frozen=True)
class Disturbance:
    """What happens to a run: `action` once, `after` seconds into a stage; `patch` before anything."""

    stage: str = ""
    action: Callable[[Path], None] | None = None
    after: float = 0.0
    patch: Callable[[], None] | None = None


CALM = Disturbance()


@dataclass(frozen=True)
class Ended:
    """How a process ended and what it printed; `stages` are those it had begun, with seconds each."""

    code: int
    text: str
    stages: dict[str, float]


@dataclass
class Row:
    """One line of the table; `problems` says what was lost, mixed or silent."""

    fault: str
    stage: str
    outcome: str
    tries: int = 1
    problems: list[str] = field(default_factory=list)


class Lab:
    """A folder with the tiny experiment, and processes that run it."""

    def __init__(self, root: Path, source: Path) -> None:
        self.root, self.source, self.count = root, source, 0
        os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["fault_lab"])

    def make_folder(self) -> Path:
        """A new place for a run; its name is always the same, so that no artifact differs by it."""
        self.count += 1
        return self.root / f"{self.count:04d}" / "run"

    def start(self, folder: Path, disturbance: Disturbance = CALM, *arguments: str) -> Any:
        """A process that does `raglift run`, or another command, on a folder."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        words = arguments or ("run", str(self.source), "--run", str(folder))
        process = self.context.Process(target=work, args=(words, folder, disturbance))
        process.start()
        return process

    def wait(self, process: Any, folder: Path) -> Ended:
        process.join(300)
        if process.exitcode is None:
            process.kill()
            process.join()
        text = (folder.parent / "output").read_text(encoding="utf-8", errors="replace")
        return Ended(int(process.exitcode), text, read_moments(folder))

    def run(self, folder: Path, disturbance: Disturbance = CALM, *arguments: str) -> Ended:
        return self.wait(self.start(folder, disturbance, *arguments), folder)

    def copy(self, folder: Path) -> Path:
        """A copy of a finished run."""
        target = self.make_folder()
        shutil.copytree(folder, target)
        return target


def work(arguments: Sequence[str], folder: Path, disturbance: Disturbance) -> None:
    """The process: the command line itself, with its output in a file beside the run folder."""
    descriptor = os.open(folder.parent / "output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    stop_clocks()
    EMBEDDERS["e5-small"] = LetterEmbedder
    training.CHECKPOINT_SECONDS = -1.0  # a checkpoint at every step
    moments = folder.parent / "moments"
    moments.unlink(missing_ok=True)
    watch_stages(moments, folder, disturbance)
    count_steps(folder.parent / "steps")
    if disturbance.patch is not None:
        disturbance.patch()
    sys.argv = ["raglift", *arguments]
    raglift.cli.main()


def stop_clocks() -> None:
    still = SimpleNamespace(monotonic=lambda: 0.0)
    for module in (answering, experiment, progress, local, training):
        module.time = still  # type: ignore[attr-defined]
    experiment.read_peak_memory = lambda: 0  # type: ignore[assignment]


def watch_stages(moments: Path, folder: Path, disturbance: Disturbance) -> None:
    """Note when each stage begins and ends, and let the disturbance happen in its stage."""
    measure = experiment.measure_stage

    def note(word: str) -> None:
        with moments.open("a", encoding="utf-8") as stream:
            stream.write(f"{word} {time.monotonic()}\n")
        if disturbance.stage == word and disturbance.action is not None:
            if disturbance.after:
                timer = threading.Timer(disturbance.after, disturbance.action, [folder])
                timer.daemon = True
                timer.start()
            else:
                disturbance.action(folder)

    @contextmanager
    def watched(run: experiment.Run, name: str) -> Iterator[None]:
        note(name)
        with measure(run, name):
            yield
        note(f"/{name}")

    experiment.measure_stage = watched
    note("start")


def count_steps(file: Path) -> None:
    """A byte for every step that is trained, over all processes of a folder."""
    whole = AnswerTrainer.training_step

    def counted(self: Any, *given: Any, **named: Any) -> Any:
        with file.open("ab") as stream:
            stream.write(b".")
        return whole(self, *given, **named)

    AnswerTrainer.training_step = counted  # type: ignore[method-assign]


def read_steps(folder: Path) -> int:
    file = folder.parent / "steps"
    return file.stat().st_size if file.exists() else 0


def read_moments(folder: Path) -> dict[str, float]:
    """Seconds of every stage that had begun; of one that did not end, until now unknown: 0."""
    moments = folder.parent / "moments"
    lines = [line.split() for line in moments.read_text().splitlines()] if moments.exists() else []
    at = {word: float(second) for word, second in lines}
    seconds = {stage: at.get(f"/{stage}", at[stage]) - at[stage] for stage in STAGES if stage in at}
    if "index" in at:
        seconds["start"] = at["index"] - at["start"]
    return seconds


def kill(folder: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def terminate(folder: Path) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def interrupt(folder: Path) -> None:
    os.kill(os.getpid(), signal.SIGINT)


def fill_disk(folder: Path, left: int = 0) -> None:
    """Fill the disk of a run folder but for `left` bytes."""
    ballast = folder / ".ballast"
    with ballast.open("wb", buffering=0) as stream:
        for size in (FULL, 4096, 512, 1):
            try:
                while stream.write(b"\0" * size) == size:
                    pass
            except OSError:
                continue
        stream.truncate(max(0, stream.tell() - left))


def fill_all_but_a_page(folder: Path) -> None:
    fill_disk(folder, left=4096)


def forbid_writing(folder: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)


def read_artifacts(folder: Path) -> dict[str, bytes]:
    """Every file that two equal runs share byte for byte."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    names = {str(file.relative_to(folder)): file for file in files}
    return {name: file.read_bytes() for name, file in names.items() if not name.startswith(UNSTABLE)}


def compare_folders(folder: Path, calm: Path) -> list[str]:
    """Names of the artifacts that are not those of the undisturbed run."""
    mine, theirs = read_artifacts(folder), read_artifacts(calm)
    return [f"{name} differs" for name in sorted({*mine, *theirs}) if mine.get(name) != theirs.get(name)]


def list_finished(folder: Path) -> dict[str, Any]:
    """What a run had finished: its recorded adapters as they lie there, and its answers by key."""
    if not folder.exists():
        return {}
    run = RunFolder(folder)
    stages = run.read_manifest().get("stages", {})
    done: dict[str, Any] = {}
    for stage, noted in stages.items():
        if stage.startswith("train:"):
            done.update({name: (folder / name).stat().st_mtime_ns for name in noted["files"] if "adapters" in name})
    return {**done, "answers": len(recover_lines(run.answers))}


def count_made(text: str) -> int:
    """How many answers a run says it made."""
    made = [line for line in text.splitlines() if line.startswith("answer: ") and "/" in line]
    return int(made[-1].split()[1].partition("/")[0]) if made else 0


def limit_answering(most: int = 1) -> None:
    """Memory for so many questions at once."""
    whole = generation._complete_batch

    def limited(loaded: Any, prompts: Any, *more: Any) -> Any:
        if len(prompts) > most:
            raise torch.OutOfMemoryError("out of memory")
        return whole(loaded, prompts, *more)

    generation._complete_batch = limited


def refuse_answering() -> None:
    limit_answering(0)


def limit_training(most: int = 1) -> None:
    """Memory for so many training rows at once."""
    whole = AnswerTrainer.compute_loss

    def limited(self: Any, model: Any, inputs: Any, *more: Any, **named: Any) -> Any:
        if inputs["position_ids"].eq(0).sum() > most:  # rows lie end to end, each begins at 0
            raise torch.OutOfMemoryError("out of memory")
        return whole(self, model, inputs, *more, **named)

    AnswerTrainer.compute_loss = limited  # type: ignore[method-assign]


def refuse_training() -> None:
    limit_training(0)


def disturb_step(act: Callable[[Any], Any], step: int = 5) -> None:
    """Let something happen to the loss of one step, the fifth of six: checkpoints of the first four are there."""
    whole, steps = AnswerTrainer.compute_loss, itertools.count(1)

    def disturbed(self: Any, *given: Any, **named: Any) -> Any:
        loss = whole(self, *given, **named)
        return act(loss) if next(steps) == step else loss

    AnswerTrainer.compute_loss = disturbed  # type: ignore[method-assign]


def lose_loss() -> None:
    disturb_step(lambda loss: loss * float("nan"))


def kill_in_step() -> None:
    disturb_step(lambda loss: os.kill(os.getpid(), signal.SIGKILL))


def terminate_in_step() -> None:
    disturb_step(lambda loss: os.kill(os.getpid(), signal.SIGTERM) or loss)


def jump_clock() -> None:
    """`time.time` is a day off, now ahead, now behind."""
    true, looks = time.time, itertools.count()
    time.time = lambda: true() + (86400 if next(looks) % 2 else -86400)  # type: ignore[assignment]
