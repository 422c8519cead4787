"""What a command says of its progress where there is no terminal."""

from __future__ import annotations

import pytest

from raglift import progress
from raglift.progress import Bar


def test_time_left_is_told_once_something_is_done(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    bar = Bar("answer", 100, None, started=0.0, said=0.0)
    for seconds, steps in ((20, 0), (20, 10), (5, 1), (20, 14)):
        clock[0] += seconds
        bar.advance(steps)
    bar.skip(50)
    clock[0] += 20
    bar.advance(0)
    assert capsys.readouterr().err.splitlines() == [
        "answer: 0/100, 20 s ",
        "answer: 10/100, 40 s, about 360 s left ",
        "answer: 25/100, 65 s, about 195 s left ",
        "answer: 75/100, 85 s, about 85 s left ",
    ]
