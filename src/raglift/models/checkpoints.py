"""The trainer's checkpoints: whole and unchanged, or not gone on from."""

from __future__ import annotations

import json
from pathlib import Path

from raglift.progress import say
from raglift.runfolder import hash_file, write_json

CHECKSUMS = "checksums.json"  # written last


def seal_checkpoint(folder: Path) -> None:
    """Note the checksums of a checkpoint's files: without them it was not written whole."""
    write_json(folder / CHECKSUMS, {file.name: hash_file(file) for file in sorted(folder.iterdir()) if file.is_file()})


def find_checkpoint(checkpoints: Path) -> Path | None:
    """The newest checkpoint that was written whole and is as it was written; says which are not."""
    for folder in sorted(checkpoints.glob("checkpoint-*"), key=lambda p: -int(p.name.rsplit("-", 1)[1])):
        try:
            noted = json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))
            damaged = [name for name, checksum in noted.items() if hash_file(folder / name) != checksum]
        except FileNotFoundError:
            continue  # the process was killed while it was written
        except (OSError, ValueError, AttributeError):
            damaged = [CHECKSUMS]
        if not damaged:
            return folder
        say(f"{folder / damaged[0]} is damaged: training goes on from an earlier checkpoint")
    return None


def read_step(checkpoint: Path | None) -> int:
    """The step that a checkpoint was saved at; 0 without one."""
    return int(checkpoint.name.rsplit("-", 1)[1]) if checkpoint else 0
