"""The commands of both READMEs run, in their order, in an empty folder, and both READMEs have the same commands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import write_experiment

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


def test_commands_run_in_an_empty_folder(tmp_path: Path, tiny_model: Path) -> None:
    # A folder of the bundled experiment's name comes first: the same commands, on the tiny model.
    write_experiment(tmp_path / "ml-qa-ko", tiny_model)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    commands = list_commands("README.md")
    assert len(commands) >= 6
    for command in commands:
        done = subprocess.run(
            command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stderr[-2000:]}"
        assert done.stdout.strip(), f"{command} prints nothing"


@pytest.mark.parametrize("readme", READMES)
def test_links_lead_somewhere(readme: str) -> None:
    text = (ROOT / readme).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (ROOT / target).exists(), target
