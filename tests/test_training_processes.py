"""One adapter trained by two processes that torchrun started: the loss and the adapter of one process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from raglift.config import Config, TrainConfig
from raglift.engines import open_engine
from raglift.errors import InputError, RunError
from raglift.experiment import open_run, run_experiment
from raglift.models.trainer import PaddingCollator, ShareCollator
from raglift.runfolder import recover_lines
from raglift.training import check_shares, halve_batch

SETTINGS = ["precision=float32", "lora.dropout=0", "device=cpu", "train.batch_size=4"]
SETTINGS += ["arms=base.oracle,rag-sft.oracle", "compare.a=base.oracle"]
# Without the --, torchrun takes raglift's --run for one of its own options.
LAUNCH = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "--", "raglift"]


def test_two_processes_train_as_one(tiny_experiment: Path, tmp_path: Path) -> None:
    alone, both = tmp_path / "alone", tmp_path / "both"
    run_experiment(open_run(str(tiny_experiment), alone, SETTINGS))
    command = ["run", str(tiny_experiment), "--run", str(both), *(part for one in SETTINGS for part in ("--set", one))]
    done = subprocess.run(
        [sys.executable, *LAUNCH, *command],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
        timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "2 processes train each adapter together" in done.stderr
    assert "[rank" not in done.stderr, "no warnings of torch's, while one trains and while it waits"
    losses, expected = (
        [row["loss"] for row in recover_lines(folder / "training.rag-sft-seed0.jsonl")] for folder in (both, alone)
    )
    assert len(losses) == 4, "5 rows in batches of 4, twice: the last batch leaves one process without a row"
    assert losses == pytest.approx(expected, rel=1e-5)
    weights, right = (load_file(next(folder.glob("adapters/*/adapter_model.safetensors"))) for folder in (both, alone))
    assert all(weights[name] == pytest.approx(right[name], abs=1e-5) for name in right)
    texts = [[row["text"] for row in recover_lines(folder / "answers.jsonl")] for folder in (both, alone)]
    assert texts[0] == texts[1] != []
    assert not list((both / "checkpoints").glob("*")), "one process alone removed what it wrote"


def test_shares_of_a_batch_are_the_batch() -> None:
    rows = [{"input_ids": [number, 9], "labels": [-100, 9]} for number in range(3)]
    shares = [ShareCollator(PaddingCollator(0), process, 4)(rows) for process in range(4)]
    assert [share["input_ids"][:, 0].tolist() for share in shares] == [[0], [1], [2], [0]]
    assert [(share["labels"] != -100).sum().item() for share in shares] == [1, 1, 1, 0], "nothing is learned twice"


def test_what_several_processes_cannot_do_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(name="x", model="y", train=TrainConfig(batch_size=4))
    with pytest.raises(InputError, match=r"train.batch_size: 4 rows for 8 processes"):
        check_shares(config, 8)
    with pytest.raises(RunError, match=r"in 2 processes with train\.batch_size=4"):
        halve_batch(config, 2)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "any")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="leave out torchrun"):
        open_engine("ray")
