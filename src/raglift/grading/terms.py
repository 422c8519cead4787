"""The table of terms: every name of a term, Korean, English or short, is read as one sign.

A term's sign is one private-use character, so that a term in a text is one letter that no
user can type (normalization drops that range).

Recall and true positive rate are one quantity but two terms: who asks what the true positive
rate is gets no answer from its own name. Formulas compare them by value (formulas.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from itertools import product

from raglift.grading.normalization import Letters, plain_letters, read_letters
from raglift.records import Passage

FIRST_SIGN = 0xE000
LAST_SIGN = 0xF8FF
_PREFIX = 2
_LATIN_RUN = re.compile(r"[a-z]+")
_HEAD = re.compile(r"^\s*(?P<name>[^:|()（）]{2,60}?)\s*(?:[(（](?P<other>[^()（）|]{1,60})[)）])?\s*[:：]")


@dataclass(frozen=True)
class Name:
    """One spelling of a term: its letters, its sign, and whether white space may stand inside."""

    letters: str
    sign: str
    spaced: bool


@dataclass(frozen=True)
class Mention:
    """A term found in a text, from letter `start` up to letter `end`."""

    start: int
    end: int
    sign: str


class TermTable:
    """All names of all terms, and the search for them (longest name first)."""

    def __init__(self, terms: Mapping[str, Iterable[str]], families: Mapping[str, Iterable[str]]) -> None:
        self.names_of: dict[str, tuple[str, ...]] = {term: tuple(names) for term, names in terms.items()}
        if len(self.names_of) > LAST_SIGN - FIRST_SIGN:
            self.names_of = dict(list(self.names_of.items())[: LAST_SIGN - FIRST_SIGN])
        self.sign_of = {term: chr(FIRST_SIGN + place) for place, term in enumerate(self.names_of)}
        self.term_of = {sign: term for term, sign in self.sign_of.items()}
        self.families = {
            family: frozenset(self.sign_of[term] for term in members if term in self.sign_of)
            for family, members in families.items()
        }
        self._names: dict[str, Name] = {}
        for term, names in self.names_of.items():
            for name in names:
                self._add(name, self.sign_of[term])
        self._by_prefix: dict[str, tuple[Name, ...]] = {}
        for name_ in sorted(self._names.values(), key=lambda one: -len(one.letters)):
            prefix = name_.letters[:_PREFIX]
            self._by_prefix[prefix] = (*self._by_prefix.get(prefix, ()), name_)
        self._run_cache: dict[str, bool] = {}

    def _add(self, name: str, sign: str) -> None:
        words = [word for word in re.split(r"[\s\-]+", name) if word]
        joints = min(len(words) - 1, 3)
        for marks in product(("", "-"), repeat=joints):
            spelled = words[0] + "".join(mark + word for mark, word in zip(marks, words[1:], strict=False))
            spelled += "".join(words[joints + 1 :])
            letters = plain_letters(spelled)
            for variant in {letters, letters + "s" if re.search(r"[a-z]{3}[a-rt-z]$", letters) else letters}:
                known = self._names.get(variant)
                if len(variant) < _PREFIX or (known is not None and known.sign != sign):
                    continue
                self._names[variant] = Name(variant, sign, len(words) > 1 or bool(known and known.spaced))

    def sign_for(self, name: str) -> str | None:
        """The sign of the term that `name` is a name of, if any."""
        letters = plain_letters(name)
        found = self._names.get(letters) or self._names.get(letters.replace("-", ""))
        return found.sign if found else None

    def find_mentions(self, read: Letters) -> list[Mention]:
        """All terms of a text, left to right, longest name first, no overlap."""
        text, starts, prefixes = read.text, read.starts, self._by_prefix
        mentions: list[Mention] = []
        place, length = 0, len(text)
        while place < length - 1:
            names = prefixes.get(text[place : place + _PREFIX])
            if names:
                for name in names:
                    if text.startswith(name.letters, place) and self._stands_alone(text, starts, place, name):
                        end = place + len(name.letters)
                        mentions.append(Mention(place, end, name.sign))
                        place = end
                        break
                else:
                    place += 1
            else:
                place += 1
        return mentions

    def _stands_alone(self, text: str, starts: bytes, start: int, name: Name) -> bool:
        """Latin names are whole words; Korean names may carry particles on either side."""
        end = start + len(name.letters)
        if not name.spaced and starts.find(1, start + 1, end) >= 0:
            return False
        if _is_latin(text[start]) and start and _is_latin(text[start - 1]) and not starts[start]:
            return self._ends_known_run(text, starts, start) and self._ends_word(text, starts, end)
        return self._ends_word(text, starts, end)

    def _ends_word(self, text: str, starts: bytes, end: int) -> bool:
        if end >= len(text) or starts[end] or not _is_latin(text[end - 1]):
            return not (end < len(text) and text[end - 1].isdigit() and text[end].isdigit() and not starts[end])
        if text[end].isdigit():
            return False
        if not _is_latin(text[end]):
            return True
        run = _LATIN_RUN.match(text, end)
        stop = run.end() if run else end
        space = starts.find(1, end, stop)
        return self._is_run_of_names(text[end : space if space >= 0 else stop])

    def _ends_known_run(self, text: str, starts: bytes, start: int) -> bool:
        """Whether the letters before `start` in the same Latin word are whole names (`TPFN`)."""
        first = start
        while first and _is_latin(text[first - 1]) and not starts[first]:
            first -= 1
        return start - first <= 40 and self._is_run_of_names(text[first:start])

    def _is_run_of_names(self, run: str) -> bool:
        if len(run) > 40:
            return False
        if run not in self._run_cache:
            if len(self._run_cache) > 10_000:
                self._run_cache.clear()
            self._run_cache[run] = run == "" or any(
                run[:size] in self._names and self._is_run_of_names(run[size:])
                for size in range(_PREFIX, len(run) + 1)
            )
        return self._run_cache[run]

    def extended(self, passages: Iterable[Passage]) -> TermTable:
        """A table that also knows the names in the heads of the passages, `name (한글 이름) : …`.

        A name that is already known, or that heads two passages, teaches nothing.
        """
        heads = [head for passage in passages if (head := _head_names(passage.text))]
        counted: dict[str, int] = {}
        for head in heads:
            for name in {plain_letters(one) for one in head}:
                counted[name] = counted.get(name, 0) + 1
        terms = dict(self.names_of)
        for head in heads:
            signs = {sign for name in head if (sign := self.sign_for(name))}
            new = [name for name in head if not self.sign_for(name) and counted[plain_letters(name)] == 1]
            if not new or len(signs) > 1 or len(head) < 2:
                continue
            term = self.term_of[signs.pop()] if signs else f"passage {new[0]}"
            terms[term] = (*terms.get(term, ()), *new)
        if len(terms) == len(self.names_of) and all(terms[t] == self.names_of[t] for t in terms):
            return self
        families = {f: [self.term_of[sign] for sign in signs] for f, signs in self.families.items()}
        return TermTable(terms, families)


def _is_latin(letter: str) -> bool:
    return "a" <= letter <= "z"


def _head_names(text: str) -> tuple[str, ...]:
    """The names in `name (other, other) : …`; () where the head has another form."""
    found = _HEAD.match(text[:200])
    if not found:
        return ()
    names = [found["name"].strip(), *re.split(r"[,/]", found["other"] or "")]
    return tuple(name.strip() for name in names if len(plain_letters(name)) >= 3)


@lru_cache(maxsize=1)
def load_terms() -> TermTable:
    """The shipped table (terms.json beside this file)."""
    shipped = json.loads((resources.files("raglift.grading") / "terms.json").read_text(encoding="utf-8"))
    return TermTable(shipped["terms"], shipped["families"])


def find_terms(text: str, table: TermTable | None = None) -> list[str]:
    """The canonical names of the terms in `text`, in order."""
    table = table or load_terms()
    return [table.term_of[mention.sign] for mention in table.find_mentions(read_letters(text))]
