"""Coverage-guided fuzzing of the readers, by hand: `make fuzz` (needs the extra `fuzz`)."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["raglift", "yaml"]):
    from hostile_readers import READERS, SEEDS, feed

    if sys.argv[1] in READERS:  # what it imports only when it reads belongs to what is watched, not to the time
        feed(sys.argv[1], SEEDS[sys.argv[1]][0])

PATIENCE = 60.0  # seconds of processor time for one input; libFuzzer's own are the clock's, and others may be at work


def feed_in_time(name: str, data: bytes) -> None:
    """TimeoutError where reading takes too long; an endless one is libFuzzer's to find."""
    started = time.process_time()
    feed(name, data)
    if time.process_time() - started > PATIENCE:
        raise TimeoutError(f"{name}: {time.process_time() - started:.0f} s of processor time for {len(data)} bytes")


def main() -> None:
    """`fuzz_readers.py READER CORPUS [libFuzzer options]`: the corpus is filled with the reader's seeds."""
    name, corpus = sys.argv[1], Path(sys.argv[2])
    if name not in READERS:
        raise SystemExit(f"no reader '{name}', there are " + ", ".join(READERS))
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[name]):
        (corpus / f"seed-{number}").write_bytes(seed)
    atheris.Setup([sys.argv[0], str(corpus), *sys.argv[3:]], lambda data: feed_in_time(name, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
