"""The command line: parse, call, print. Heavy imports wait until a command needs them, so that --help is quick."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

# In the order in which `raglift --help` lists their commands.
from raglift.cli import starting, stages, grading, search, bench, chat, export  # isort: skip
from raglift.cli.options import app
from raglift.engines import count_processes
from raglift.errors import Interruption, RagliftError
from raglift.offline import prepare_network
from raglift.progress import say
from raglift.sanitization import quote_command

__all__ = ["app", "bench", "chat", "export", "grading", "main", "search", "stages", "starting"]


def stop_politely(signum: int, frame: Any) -> NoReturn:
    """SIGTERM ends like Ctrl-C: files are whole, the same command goes on."""
    raise Interruption


def name_command() -> str:
    """The command that was given, to type again."""
    program = Path(sys.argv[0]).name
    return quote_command(*(("python", "-m", "raglift") if program == "__main__.py" else (program,)), *sys.argv[1:])


def run_command() -> None:
    """The command; of several processes started together the first runs it, and the others help it."""
    if count_processes() == 1:
        app()
        return
    from raglift.engines.group import follow, release

    if int(os.environ["RANK"]) > 0:
        from raglift.training import train_described

        follow(train_described)
        return
    try:
        app()
    finally:
        release()


def main() -> None:
    """The entry point: exit status 0 done, 1 the run failed, 2 the user's input is wrong."""
    debug = "--debug" in sys.argv
    if debug:
        sys.argv.remove("--debug")
    prepare_network()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop_politely)
    try:
        run_command()
    except RagliftError as error:
        if debug:
            traceback.print_exc()
        say(f"error: {error}")
        sys.exit(error.exit_status)
    except Interruption:
        say(f"stopped; what is finished is kept. To go on, give the same command again: {name_command()}")
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        say(f"error: {type(error).__name__}: {error}\n  to do: run it again with --debug for the traceback")
        sys.exit(1)
