"""docs/cli.md and docs/settings.md from the code itself: `python -m raglift.documentation`.

With --check it compares only.
"""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from typer.testing import CliRunner

from raglift.cli import app
from raglift.config import Config, Section

INTRODUCTION = """# The command line

Made from `--help` by `make docs`; `make check` fails when it is stale.
Exit status: 0 done, 1 the run failed, 2 the input is wrong, 130 interrupted (the same command goes on).
"""

SETTINGS = """# Settings

What `experiment.yaml` and `--set section.key=value` can hold. Made from the code by `make docs`; `make check` fails
when it is stale. A setting that is not in the file has its default, the founding experiment's where it had one; a key
that is not here is an error. `raglift init` writes the few that differ from one experiment to the next.
"""
BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
KINDS = {
    str: "text", int: "whole number", float: "number", bool: "`true`, `false`", tuple: "list", dict: "mapping",
}  # fmt: skip


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


def render_settings() -> str:
    """The Markdown of docs/settings.md: a table for the top level and one for each section."""
    fields = Config.model_fields
    sections = {name: kind for name, field in fields.items() if (kind := read_section(field)) is not None}
    parts = [SETTINGS, render_table({name: field for name, field in fields.items() if name not in sections}, "")]
    for name, section in sections.items():
        parts.append(f"## {name}\n\n{inspect.getdoc(section)}\n")
        parts.append(render_table(section.model_fields, f"{name}."))
    return "\n".join(parts)


def read_section(field: FieldInfo) -> type[Section] | None:
    """The section that a field of the config is; None for a single setting."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def render_table(fields: dict[str, FieldInfo], prefix: str) -> str:
    """A row for each setting."""
    rows = ["| setting | default | takes | |", "|---|---|---|---|"]
    for name, field in fields.items():
        default = "" if field.is_required() else describe_default(field.default)
        meaning = " ".join((field.description or "").split())
        rows.append(f"| `{prefix}{name}` | {default} | {describe_type(field)} | {meaning} |")
    return "\n".join(rows) + "\n"


def describe_default(value: Any) -> str:
    """A default as it would stand in the file."""
    if isinstance(value, tuple):
        return f"`{', '.join(value)}`"
    is_plain = isinstance(value, str) and value.isprintable() and value
    return f"`{value if is_plain else json.dumps(value, ensure_ascii=False)}`"


def describe_type(field: FieldInfo) -> str:
    """What a setting takes, with its bounds."""
    kinds = list_kinds(field.annotation)
    names = " or ".join(describe_annotation(kind) for kind in kinds if kind is not type(None))
    bounds = [
        f"{sign} {getattr(bound, limit):g}"
        for bound in field.metadata
        for limit, sign in BOUNDS.items()
        if hasattr(bound, limit)
    ]
    return f"{names} {', '.join(bounds)}".strip() + (", or `null`" if type(None) in kinds else "")


def list_kinds(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, or the annotation alone."""
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def describe_annotation(kind: Any) -> str:
    """`text`, `whole number`, or the values themselves."""
    if get_origin(kind) is Literal:
        return ", ".join(f"`{json.dumps(value).strip(chr(34))}`" for value in get_args(kind))
    return KINDS[get_origin(kind) or kind]


def main() -> None:
    """Write the pages, or with --check say whether they are fresh (exit status 1 when not)."""
    for target, render in PAGES.items():
        page = render()
        if "--check" not in sys.argv[1:]:
            target.write_text(page, encoding="utf-8")
            print(f"written: {target}")
        elif not target.exists() or target.read_text(encoding="utf-8") != page:
            sys.exit(f"{target} is stale: run make docs")


PAGES = {Path("docs/cli.md"): render_page, Path("docs/settings.md"): render_settings}


if __name__ == "__main__":
    main()
