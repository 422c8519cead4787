"""Settings, versions, hashes, times and memory of a run as named facts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from raglift.report.content import Content
from raglift.report.numbers import MISSING, format_decimal, format_seconds, is_number
from raglift.report.texts import TABLE, Say


@dataclass(frozen=True)
class FactGroup:
    """A titled list of (key, value) texts."""

    title: str
    facts: list[tuple[str, str]]


def list_run_facts(content: Content, say: Say) -> list[FactGroup]:
    """Groups that have something to show."""
    manifest = content.manifest
    times = [(str(stage), format_seconds(seconds)) for stage, seconds in (manifest.get("times") or {}).items()]
    machine = list(flatten(manifest.get("machine") or {}))
    if is_number(manifest.get("peak_memory_gib")):
        machine.append((say("run.memory"), f"{manifest['peak_memory_gib']:.2f} GiB"))
    variance = [
        (say(f"variance.{name}"), format_decimal(value))
        for name, value in (content.comparison.get("variance") or {}).items()
        if f"variance.{name}" in TABLE and is_number(value)
    ]
    groups = (
        FactGroup(say("run.settings"), list(flatten(content.settings))),
        FactGroup(say("run.judge"), list(_list_spending(manifest.get("judge") or {}))),
        FactGroup(say("run.remote"), list(_list_spending(manifest.get("remote") or {}))),
        FactGroup(say("run.variance"), variance),
        FactGroup(say("run.times"), times),
        FactGroup(say("run.machine"), machine),
        FactGroup(say("run.versions"), list(flatten(manifest.get("versions") or {}))),
        FactGroup(say("run.hashes"), [*content.hashes.items(), *_list_checksums(manifest)]),
    )
    return [group for group in groups if group.facts]


def flatten(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """`section.key` and value as text for each leaf of a nested mapping."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", write_value(value)


def write_value(value: Any) -> str:
    if value is None:
        return MISSING
    if isinstance(value, list):
        return ", ".join(write_value(item) for item in value)
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value)[1:-1] if isinstance(value, str) and "\n" in value else str(value)


def _list_spending(server: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Which model on a server it was, with how many calls, tokens and seconds."""
    for key, value in server.items():
        yield str(key), format_seconds(value) if key == "seconds" else write_value(value)


def _list_checksums(manifest: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for _, stage in sorted((manifest.get("stages") or {}).items()):
        for file, checksum in ((stage or {}).get("files") or {}).items():
            yield str(file), str(checksum)
