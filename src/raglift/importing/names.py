"""Readable, stable ids: from a title's letters; a hash only where two would be the same."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from raglift.runfolder import hash_content

LONGEST = 40
_WORD = re.compile(r"[^\W_]+")


def make_slug(text: str) -> str:
    """Letters and digits in lower case with hyphens between, at most 40, cut at a word."""
    words = _WORD.findall(unicodedata.normalize("NFKC", text).lower())
    slug = ""
    for word in words:
        longer = f"{slug}-{word}" if slug else word[:LONGEST]
        if len(longer) > LONGEST:
            break
        slug = longer
    return unicodedata.normalize("NFC", slug) or "text"


def name_texts(titles: Sequence[str], texts: Sequence[str]) -> list[str]:
    """An id for each of the different texts from its title; ids that would be the same get the start of a hash.

    They depend on titles and texts alone, not on their order.
    """
    slugs = [make_slug(title) for title in titles]
    often = Counter(slugs)
    hashes = [hash_content(text) for text in texts]
    for length in (6, 12, 32):
        names = [
            slug if often[slug] == 1 else f"{slug}-{made[:length]}" for slug, made in zip(slugs, hashes, strict=True)
        ]
        if len(set(names)) == len(names):
            return names
    raise ValueError("texts to be named must differ")
