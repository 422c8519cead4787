"""The command `raglift`, also `python -m raglift`: from its first moment on, Ctrl-C and SIGTERM end it politely."""

import os
import signal
from typing import Any, NoReturn

BEGINNING = b"stopped before anything was begun\n"


def stop_early(signum: int, frame: Any) -> NoReturn:
    """End while the command line is being imported, which has no handlers of its own yet."""
    os.write(2, BEGINNING)
    os._exit(130)


def main() -> None:
    """The entry point; see `raglift.cli.main`."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop_early)
    from raglift import cli

    cli.main()


if __name__ == "__main__":
    main()
