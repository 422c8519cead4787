"""The command line: parse, call, print. Heavy imports wait until a command needs them, so that --help is quick."""

from __future__ import annotations

import signal
import sys
import traceback
from typing import Any, NoReturn

# In the order in which `raglift --help` lists their commands.
from raglift.cli import starting, stages, grading, search, bench, chat, export  # isort: skip
from raglift.cli.options import app
from raglift.errors import Interruption, RagliftError
from raglift.offline import prepare_network
from raglift.progress import say

__all__ = ["app", "bench", "chat", "export", "grading", "main", "search", "stages", "starting"]


def stop_politely(signum: int, frame: Any) -> NoReturn:
    """SIGTERM ends like Ctrl-C: files are whole, the same command goes on."""
    raise Interruption


def main() -> None:
    """The entry point: exit status 0 done, 1 the run failed, 2 the user's input is wrong."""
    debug = "--debug" in sys.argv
    if debug:
        sys.argv.remove("--debug")
    prepare_network()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop_politely)
    try:
        app()
    except RagliftError as error:
        if debug:
            traceback.print_exc()
        say(f"error: {error}")
        sys.exit(error.exit_status)
    except Interruption:
        say("stopped; what is finished is kept. To go on, give the same command again: " + " ".join(sys.argv))
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        say(f"error: {type(error).__name__}: {error}\n  to do: run it again with --debug for the traceback")
        sys.exit(1)
