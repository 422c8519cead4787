"""Names for what lies on somebody's machine: a report is published, the paths of the machine are not."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from raglift.config import REMOTE_PREFIX

_PATH_START = re.compile(r"[/\\~]|\.{1,2}([/\\]|$)|[A-Za-z]:[/\\]")


def is_local(name: str) -> bool:
    """Whether a model's name is a folder and not a hub's `owner/name` or a model on a server."""
    if name.startswith(REMOTE_PREFIX):
        return False
    if _PATH_START.match(name) or "\\" in name or name.count("/") > 1:
        return True
    return "/" in name and Path(name).is_dir()


def name_place(name: str) -> str:
    """The last part of a local path, a remote model without its address; other names stay."""
    if name.startswith(REMOTE_PREFIX):
        return name.partition(",")[0].rpartition("@")[0]
    if not is_local(name):
        return name
    path = PureWindowsPath(name) if "\\" in name else PurePosixPath(name)
    return path.name or "local"


def hide_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """A config's (or a manifest's) values with folders by their names, and addresses without a login in them."""
    hidden = {**settings, **_hide_keys(settings, model=name_place, source=name_place)}
    for section, hide in (("retrieval", {"embedder": name_place}), ("judge", {"url": hide_login, "model": name_place})):
        if isinstance(hidden.get(section), dict):
            hidden[section] = {**hidden[section], **_hide_keys(hidden[section], **hide)}
    if isinstance(hidden.get("config"), dict):
        hidden["config"] = hide_settings(hidden["config"])
    return hidden


def _hide_keys(values: dict[str, Any], **hide: Callable[[str], str]) -> dict[str, str]:
    return {key: change(values[key]) for key, change in hide.items() if isinstance(values.get(key), str)}


def hide_login(url: str) -> str:
    """An address without `user:password@` and without its query, which may hold a key."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
