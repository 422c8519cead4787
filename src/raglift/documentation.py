"""docs/cli.md from the commands themselves: `python -m raglift.documentation`, with --check to compare only."""

from __future__ import annotations

import sys
from pathlib import Path

import typer
from typer.testing import CliRunner

from raglift.cli import app

TARGET = Path("docs/cli.md")
INTRODUCTION = """# The command line

Made from `--help` by `make docs`; `make check` fails when it is stale.
Exit status: 0 done, 1 the run failed, 2 the input is wrong, 130 interrupted (the same command goes on).
"""


def list_commands() -> list[str]:
    """The names of all commands, in the order of `raglift --help`; groups come before their commands."""
    names = []
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        names += [name, *(f"{name} {inner}" for inner in getattr(command, "commands", {}))]
    return names


def render_page() -> str:
    """The Markdown of docs/cli.md."""
    runner = CliRunner()
    parts = [INTRODUCTION]
    for name in list_commands():
        help_text = runner.invoke(app, [*name.split(), "--help"], env={"COLUMNS": "100"}, terminal_width=100).stdout
        lines = [line.rstrip() for line in help_text.replace("Usage: root", "Usage: raglift").strip().splitlines()]
        parts.append(f"## raglift {name}\n\n```text\n" + "\n".join(lines) + "\n```\n")
    return "\n".join(parts)


def main() -> None:
    """Write the page, or with --check say whether it is fresh (exit status 1 when not)."""
    page = render_page()
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(page, encoding="utf-8")
        print(f"written: {TARGET}")
    elif not TARGET.exists() or TARGET.read_text(encoding="utf-8") != page:
        sys.exit(f"{TARGET} is stale: run make docs")


if __name__ == "__main__":
    main()
