"""Words for the lexical search: Kiwi's nouns, roots, foreign words and numbers, and whole mixed terms.

Particles are left out, so that `PR-AUC는` and `재현율이` find `PR-AUC` and `재현율`.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any

TOKENS_VERSION = "1"
KEPT_TAGS = frozenset({"NNG", "NNP", "NR", "SL", "SH", "SN", "XR"})
ENDING_TAGS = ("J", "E", "VC", "VX", "XSV", "XSA", "S", "W")  # how the tags after a stem begin
VERBAL = frozenset({"하", "되", "시키"})
LONGEST_NAME = 80

# Latin letters and digits, over an inner - . / + _ ' when more of them follow: PR-AUC, t-SNE, F1, 0.5, C++
TERM = re.compile(r"[A-Za-z0-9]+(?:[-./+_'’][A-Za-z0-9]+)*\+*")
JOINT = re.compile(r"[-./+_'’]")
PARENTHESES = re.compile(r"([^()|:;,]{1,60}?)\s*\(([^()]{1,60})\)")
HEAD = re.compile(r"^(.{1,80}?)\s*[:：]\s")
HANGUL = re.compile(r"[가-힣]")
LATIN = re.compile(r"[A-Za-z]")


def normalize_text(text: str) -> str:
    """NFKC: Hangul written in letters becomes syllables, full-width letters become plain ones."""
    return unicodedata.normalize("NFKC", text)


def list_tokens(text: str) -> list[str]:
    """The words of a text in their order, lower-cased, repeats kept.

    A mixed term stands whole and in its parts (`pr-auc`, `pr`, `auc`); neighbouring nouns stand alone and
    joined (`교차`, `검증`, `교차검증`), so that spacing does not decide.
    """
    text = normalize_text(text)
    terms = list(TERM.finditer(text))
    covered = [(match.start(), match.end()) for match in terms]
    found = [(match.start(), token) for match in terms for token in _split_term(match.group())]
    found += _list_korean(text, covered)
    found.sort(key=lambda item: item[0])
    return [token for _, token in found]


def find_names(text: str) -> list[str]:
    """The names that a passage carries at its head: `Recall (재현율) : …` has `Recall` and `재현율`."""
    text = normalize_text(text).strip()
    head = HEAD.match(text)
    start = head.group(1) if head else text[:LONGEST_NAME]
    pair = PARENTHESES.match(start)
    alone = [head.group(1)] if head else []
    names = [pair.group(1), *re.split(r"[,/;]", pair.group(2))] if pair else alone
    return [name.strip() for name in names if name.strip()]


def find_synonyms(text: str) -> list[tuple[str, str]]:
    """Korean/English pairs as they stand in a text's own parentheses, each side as its joined tokens.

    `Recall (재현율)` and `정밀도(precision)` are pairs; `IoU (0.5)` and `값 (예: 3)` are none.
    """
    pairs = []
    for match in PARENTHESES.finditer(normalize_text(text)):
        for inside in re.split(r"[,/;]", match.group(2)):
            outside = _take_last_words(match.group(1), len(inside.split()))
            one, other = join_tokens(outside), join_tokens(inside)
            if one and other and one != other and _is_translation(outside, inside):
                pairs.append((one, other))
    return pairs


def join_tokens(text: str) -> str:
    """A name as one string of its tokens, for exact comparison."""
    return " ".join(list_tokens(text))


def _take_last_words(text: str, count: int) -> str:
    """The words right before a parenthesis: as many as stand inside of it, all when the text is a head."""
    words = text.split()
    return " ".join(words[-count:] if len(words) > count + 2 else words)


def _is_translation(one: str, other: str) -> bool:
    return bool(
        (HANGUL.search(one) and LATIN.search(other) and not HANGUL.search(other))
        or (HANGUL.search(other) and LATIN.search(one) and not HANGUL.search(one))
    )


def _split_term(term: str) -> list[str]:
    whole = term.lower()
    parts = [part for part in JOINT.split(whole) if part]
    return [whole] if len(parts) < 2 or re.fullmatch(r"[\d.]+", whole) else [whole, *parts]


def _list_korean(text: str, terms: list[tuple[int, int]]) -> list[tuple[int, str]]:
    """Kiwi's kept words outside of the mixed terms, each word's stem, and joins of neighbouring stems."""
    if not HANGUL.search(text):
        return []
    inside = bytearray(len(text) + 1)
    for start, end in terms:
        inside[start:end] = b"\1" * (end - start)
    found: list[tuple[int, str]] = []
    before: _Stem | None = None
    for _, group in groupby(load_analyser().tokenize(text), key=lambda token: token.word_position):
        word = [token for token in group if not inside[token.start]]
        found += [(token.start, token.form.lower()) for token in word if token.tag in KEPT_TAGS]
        stem = _cut_stem(text, word)
        if stem:
            found.append((stem.start, stem.text))
            if before and before.is_bare and stem.start - before.end == 1:
                found.append((before.start, before.text + stem.text))
        before = stem
    return list(dict.fromkeys(found))


@dataclass(frozen=True)
class _Stem:
    start: int
    end: int
    text: str
    is_bare: bool  # nothing follows in its word: no particle, no ending


def _cut_stem(text: str, word: list[Any]) -> _Stem | None:
    """A word of Hangul up to its first particle, ending or verbal suffix; None when that leaves no noun."""
    end = start = word[0].start if word else 0
    for token in word:
        if token.tag.startswith(ENDING_TAGS) or (token.start > start and token.form in VERBAL):
            break
        end = token.start + token.len
    stem = text[start:end]
    is_noun = bool(word) and (word[0].tag.startswith(("N", "XPN", "XR")))
    if not is_noun or not HANGUL.match(stem) or word[0].tag in ("NP", "NNB"):
        return None
    return _Stem(start, end, stem, is_bare=end == word[-1].start + word[-1].len)


@cache
def load_analyser() -> Any:
    """Kiwi, once in a process (it takes seconds and some 500 MB, so only the lexical search loads it)."""
    from kiwipiepy import Kiwi

    return Kiwi(num_workers=1)


def name_tokenizer() -> str:
    """What made the tokens; an index with other ones is rebuilt."""
    from importlib.metadata import version

    return f"tokens-{TOKENS_VERSION}/kiwi-{version('kiwipiepy')}"
