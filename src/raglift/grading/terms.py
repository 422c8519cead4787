"""The table of terms: every name of a term, Korean, English or short, is read as one sign.

A term's sign is one private-use character, so that a term in a text is one letter that no
user can type (normalization drops that range). Terms of a family (metrics, counts, axes, …)
are whole: their pieces do not match (`양성` in `참 양성`). Compounds (`기울기 폭발`, `검증 데이터`) stay
words in a text, since their pieces mean what they say; a pattern that names one matches all its names.

Recall and true positive rate are one quantity but two terms: who asks what the true positive
rate is gets no answer from its own name. Formulas compare them by value (formulas.py).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from itertools import product
from typing import NamedTuple

from raglift.grading.normalization import Letters, plain_letters
from raglift.records import Passage

FIRST_SIGN = 0xE000
LAST_SIGN = 0xF8FF
_PREFIX = 2
_LATIN_RUN = re.compile(r"[a-z]+")
_KOREAN_ENDS = re.compile("(?!진짜)[가-힣].*[가-힣]$")
_REALLY = "진짜"
_GROUP = re.compile("(?:데이터|샘플|것|들){0,2}(?:중|가운데|에서)|인|이었|였|이지만")
_HEAD = re.compile(r"^\s*(?P<name>[^:|()（）]{2,60}?)\s*(?:[(（](?P<other>[^()（）|]{1,60})[)）])?\s*[:：]")


@dataclass(frozen=True)
class Name:
    """One spelling of a term: its letters, its sign, and whether white space may stand inside.

    `is_korean` where no Latin letter or digit begins or ends it: it stands alone wherever it stands.
    """

    letters: str
    sign: str
    spaced: bool
    is_korean: bool


class Mention(NamedTuple):
    """A term found in a text, from letter `start` up to letter `end`."""

    start: int
    end: int
    sign: str


class TermTable:
    """All names of all terms, and the search for them (longest name first)."""

    def __init__(
        self,
        terms: Mapping[str, Iterable[str]],
        families: Mapping[str, Iterable[str]],
        compounds: Mapping[str, Iterable[str]] | None = None,
    ) -> None:
        self.compounds = TermTable(compounds, {}) if compounds else None
        self.names_of: dict[str, tuple[str, ...]] = {term: tuple(names) for term, names in terms.items()}
        if len(self.names_of) > LAST_SIGN - FIRST_SIGN:
            self.names_of = dict(list(self.names_of.items())[: LAST_SIGN - FIRST_SIGN])
        self.sign_of = {term: chr(FIRST_SIGN + place) for place, term in enumerate(self.names_of)}
        self.term_of = {sign: term for term, sign in self.sign_of.items()}
        self.families = {
            family: frozenset(self.sign_of[term] for term in members if term in self.sign_of)
            for family, members in families.items()
        }
        self.whole = frozenset().union(*self.families.values())
        self.whole_terms = frozenset(self.term_of[sign] for sign in self.whole)
        self._names: dict[str, Name] = {}
        for term, names in self.names_of.items():
            for name in names:
                self._add(name, self.sign_of[term])
        sizes: dict[str, set[int]] = {}
        for letters in self._names:
            sizes.setdefault(letters[:_PREFIX], set()).add(len(letters))
        self._sizes_by_prefix = {prefix: sorted(found, reverse=True) for prefix, found in sizes.items()}
        self._first_letters = frozenset(prefix[0] for prefix in sizes)
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
                spaced = len(words) > 1 or bool(known and known.spaced)
                self._names[variant] = Name(variant, sign, spaced, bool(_KOREAN_ENDS.match(variant)))

    def sign_for(self, name: str) -> str | None:
        """The sign of the term that `name` is a name of, if any."""
        letters = plain_letters(name)
        found = self._names.get(letters) or self._names.get(letters.replace("-", ""))
        return found.sign if found else None

    def find_mentions(self, read: Letters) -> list[Mention]:
        """All terms of a text, left to right, longest name first, no overlap."""
        text, sizes, names = read.text, self._sizes_by_prefix, self._names
        mentions: list[Mention] = []
        done = 0
        first = self._first_letters
        begins = [
            place for place, letter in enumerate(text) if letter in first and text[place : place + _PREFIX] in sizes
        ]
        for place in begins:
            if place < done:
                continue
            for size in sizes[text[place : place + _PREFIX]]:
                name = names.get(text[place : place + size])
                if name is not None and self._stands_alone(read, place, name):
                    done = place + len(name.letters)
                    mentions.append(Mention(place, done, name.sign))
                    break
        return mentions

    def _stands_alone(self, read: Letters, start: int, name: Name) -> bool:
        """Latin names are whole words; Korean names may carry particles on either side."""
        text, end = read.text, start + len(name.letters)
        if name.is_korean:
            return name.spaced or not read.has_space(start, end)
        if name.letters.startswith(_REALLY) and _GROUP.match(text, end):
            return False  # `진짜 양성 중에서`, `진짜 양성인`: those that are really positive, not the count TP
        if not name.spaced and read.has_space(start, end):
            return False
        if _is_latin(text[start]) and start and _is_latin(text[start - 1]) and not read.starts_word(start):
            return self._ends_known_run(read, start) and self._ends_word(read, end)
        return self._ends_word(read, end)

    def _ends_word(self, read: Letters, end: int) -> bool:
        text = read.text
        if end >= len(text):
            return True
        last, following = text[end - 1], text[end]
        if following.isdigit() and (_is_latin(last) or last.isdigit()):
            return read.starts_word(end)
        if not (_is_latin(last) and _is_latin(following)) or read.starts_word(end):
            return True
        run = _LATIN_RUN.match(text, end)
        stop = run.end() if run else end
        word_end = next((place for place in range(end + 1, min(stop, end + 41)) if read.starts_word(place)), stop)
        return self._is_run_of_names(text[end:word_end])

    def _ends_known_run(self, read: Letters, start: int) -> bool:
        """Whether the letters before `start` in the same Latin word are whole names (`TPFN`)."""
        first = start
        while first and start - first <= 40 and _is_latin(read.text[first - 1]) and not read.starts_word(first):
            first -= 1
        return self._is_run_of_names(read.text[first:start])

    def _is_run_of_names(self, run: str) -> bool:
        if len(run) > 40:
            return False
        if run not in self._run_cache:
            if len(self._run_cache) > 10_000:
                self._run_cache.clear()
            self._run_cache[run] = run == "" or any(
                run[:size] in self._names and self._is_run_of_names(run[size:]) for size in range(_PREFIX, len(run) + 1)
            )
        return self._run_cache[run]

    def names_in(self, letters: Letters) -> list[tuple[Mention, tuple[str, ...]]]:
        """The compounds in a pattern, each with all its names."""
        if self.compounds is None:
            return []
        known = self.compounds
        return [(one, known.names_of[known.term_of[one.sign]]) for one in known.find_mentions(letters)]

    def names_for(self, name: str) -> tuple[str, ...]:
        """All names of the compound that `name` is or names; () if it is none."""
        if self.compounds is None:
            return ()
        sign = self.compounds.sign_of.get(name) or self.compounds.sign_for(name)
        return self.compounds.names_of[self.compounds.term_of[sign]] if sign else ()

    def extended(self, passages: Iterable[Passage]) -> TermTable:
        """A table that also knows the names in the heads of the passages, `name (한글 이름) : …`.

        A name that is already known, or that heads two passages, teaches nothing. New terms are
        compounds: they add names to patterns and hide nothing in an answer.
        """
        heads = [head for passage in passages if len(head := _head_names(passage.text)) > 1]
        counted = Counter(letters for head in heads for letters in {plain_letters(name) for name in head})
        terms, compounds = dict(self.names_of), dict(self.compounds.names_of if self.compounds else {})
        for head in heads:
            new = tuple(n for n in head if not self._knows(n) and counted[plain_letters(n)] == 1)
            known = [name for name in head if self._knows(name)]
            if not new or (not known and len(new) < 2):
                continue
            self._teach(terms, compounds, known, new)
        if terms == self.names_of and compounds == (self.compounds.names_of if self.compounds else {}):
            return self
        families = {f: [self.term_of[sign] for sign in signs] for f, signs in self.families.items()}
        return TermTable(terms, families, compounds)

    def _knows(self, name: str) -> bool:
        return bool(self.sign_for(name) or self.names_for(name))

    def _teach(
        self,
        terms: dict[str, tuple[str, ...]],
        compounds: dict[str, tuple[str, ...]],
        known: list[str],
        new: tuple[str, ...],
    ) -> None:
        signs = {sign for name in known if (sign := self.sign_for(name))}
        others = {self.compounds.sign_for(name) for name in known} - {None} if self.compounds else set()
        if len(signs) + len(others) > 1:
            return
        if signs:
            term = self.term_of[signs.pop()]
            terms[term] = (*terms[term], *new)
        elif others and self.compounds:
            term = self.compounds.term_of[str(others.pop())]
            compounds[term] = (*compounds[term], *new)
        else:
            compounds[f"passage {new[0]}"] = new


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
    return TermTable(shipped["terms"], shipped["families"], shipped["compounds"])
