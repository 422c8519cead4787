"""What changed between two calls, in words: `train.epochs: 2, now 3`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

SHOWN = 6  # changes that a line names
LONGEST = 40  # characters of a value


def describe_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The keys whose values differ, with both values; hashes are only said to differ.

    '' where nothing does, or where one side is not known.
    """
    if not before or not now:
        return ""
    old, new = dict(_flatten(before)), dict(_flatten(now))
    changed = [key for key in dict.fromkeys([*old, *new]) if old.get(key) != new.get(key)]
    words = [_describe(key, old.get(key), new.get(key)) for key in changed[:SHOWN]]
    return "; ".join(words) + (f"; {len(changed) - SHOWN} more" if len(changed) > SHOWN else "")


def _describe(key: str, old: Any, new: Any) -> str:
    if _is_hash(old) or _is_hash(new):
        return f"{key} changed"
    if isinstance(old, list) and isinstance(new, list):
        gone, come = ([str(one) for one in a if one not in b] for a, b in ((old, new), (new, old)))
        words = [f"{word} {_cut(', '.join(ones))}" for word, ones in (("without", gone), ("with", come)) if ones]
        return f"{key}: now {' and '.join(words) or 'in another order'}"
    return f"{key}: {_cut(str(old))}, now {_cut(str(new))}"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and len(value) >= 32 and all(c in "0123456789abcdef" for c in value)


def _flatten(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", list(value) if isinstance(value, tuple) else value
