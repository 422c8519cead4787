"""What can go wrong, by whose hand.

`InputError` is the user's (exit status 2): it names the place, what was found, what was
expected and what to do. `RunError` is the run's (exit status 1).
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class RagliftError(Exception):
    """Base of the errors that are shown without a traceback."""

    exit_status = 1


class Interruption(BaseException):
    """Ctrl-C or SIGTERM. Not KeyboardInterrupt, which the command line library would end in its own words."""


class RunError(RagliftError):
    """The run failed though its input was right (exit status 1)."""


class InputError(RagliftError):
    """The user's input is wrong (exit status 2).

    Args:
        where: file, `file:line`, key or option that is wrong.
        found: what stands there.
        expected: what should stand there.
        fix: what the user can do about it.
    """

    exit_status = 2

    def __init__(self, where: str, found: str, expected: str, fix: str = "") -> None:
        self.where, self.found, self.expected, self.fix = where, found, expected, fix
        lines = [f"{where}: {found}", f"  expected: {expected}"]
        if fix:
            lines.append(f"  to do: {fix}")
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str, str, str]]:
        return type(self), (self.where, self.found, self.expected, self.fix)  # for errors of another process


def suggest_name(wrong: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?` when a known name is near, else the known names."""
    names = sorted(known)
    near = get_close_matches(wrong, names, n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else "use one of: " + ", ".join(names)
