"""What identifies a model in an answer's key. It is told from files alone: no library of models is loaded for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from raglift.runfolder import hash_content, hash_file

EMBEDDED_GEMMA = "gemma3-270m"  # the model that comes as a package


def is_at_hand(name: str) -> bool:
    """Whether the model lies on this machine for certain; else only loading it tells."""
    return name == EMBEDDED_GEMMA or (Path(name) / "config.json").is_file()


def identify_model(name: str, folder: Path, precision: str) -> str:
    """A hash of name, precision and, for a folder, of its config and the sizes and heads of its weights."""
    return hash_content([precision, *trace_files(folder)] if folder.is_dir() else [name, precision])


def trace_files(folder: Path) -> list[list[Any]]:
    """A model folder's files: name and checksum, of weights their size and samples."""
    traces: list[list[Any]] = [[file.name, hash_file(file)] for file in sorted(folder.glob("*.json"))]
    for file in sorted(folder.glob("*.safetensors")):
        traces.append([file.name, file.stat().st_size, _hash_samples(file)])
    return traces


def _hash_samples(file: Path, pieces: int = 64, length: int = 65536) -> str:
    # Reading every byte of a large model at each start costs more than it tells: 64 pieces spread over it do.
    size = file.stat().st_size
    with file.open("rb") as stream:
        parts = []
        for piece in range(pieces):
            stream.seek(max(0, size - length) * piece // max(1, pieces - 1))
            parts.append(stream.read(length).hex() if size < length else hash_content(stream.read(length).hex()))
    return hash_content(parts)
