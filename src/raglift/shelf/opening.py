"""The shelf that a run's settings ask for."""

from __future__ import annotations

from raglift.config import Config
from raglift.runfolder import RunFolder
from raglift.shelf.interface import ModelShelf


def create_shelf(folder: RunFolder, config: Config) -> ModelShelf:
    """The shelf for the config's model; only weights need the libraries that load them."""
    if config.is_remote:
        from raglift.shelf.remote import RemoteShelf

        return RemoteShelf(folder, config)
    from raglift.shelf.local import LocalShelf

    return LocalShelf(folder, config)
