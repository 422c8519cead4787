"""Whether a match is denied on the spot: `조화 평균이 아니라`, `TP가 아닌`, `크기를 보지 않아`, `not recall`."""

from __future__ import annotations

import re

from raglift.grading.reading import Reading, Span

_JOSA = r"(?:이라는|라는|이|가|은|는|도|을|를|의|에|에는|으로|로|으로는|로는|에서|과는|와는|과|와|하고|까지)?"
_THING = r"(?:것|게|건|거|값|뜻|말|의미|경우|개념|식|공식|평균|문제)?"
_NOT = r"(?:아니(?!나다를)|아닌|아님|아냐|아녜|말고|대신(?![하할해한]))"
_NO = r"(?:는|도|를|은|조차|까지)?(?:않|못|마(?!찬)|말(?=[아고])|안(?=[아돼되]))"
_NO_MATTER = "상관|관계|관련|의미|영향|쓸모|소용|차이|연관|필요|무관|중요"
_NOUN_DENIED = re.compile(
    rf"(?:{_THING}{_JOSA}{_NOT}"
    rf"|{_THING}(?:이라고|라고)(?:는)?(?:할|볼|부를|말할)수(?:는|가|도)?없"
    rf"|{_JOSA}(?:크게|별로|전혀|아무|직접)?(?:{_NO_MATTER})(?:이|은|는|가|도|을|를)?(?:받지|주지|미치지|두지|하지|되지|치)?{_NO}"
    rf"|{_JOSA}(?:크게|별로|전혀|아무)?(?:무관|(?:{_NO_MATTER})(?:이|은|는|가|도)?(?:없|안))"
    rf"|[\ue000-\uf8ff]?(?:와는|과는|와|과|이랑은|랑은|이랑|랑|하고는|하고)(?:전혀|완전히|조금|좀)?(?:다르|달리|달라|다른)"
    rf"|{_JOSA}없(?!애|앤|앨|앴|을수록|을때|으면|어지|어야|음을))"
)
_INNER_DENIED = re.compile(rf"{_JOSA}(?:무시|제외하고|배제하고|빼고(?=[^\n]{{1,12}}(?:만|나머지)))")
_STEM = "[가-힣](?<![이가은는을를에의도])"
_ACT = (
    r"(?:(?:고려|반영|사용|포함|비교|계산|측정|의미|활용|구분|생각|관여|작용|참고|감안|이용|표현|설명)(?:하|되|시키)?"
    r"|보|따지|신경쓰|쓰|다루|나타내|말하|가리키|뜻하|알려주|재|담|구하|세)"
)
_KEPT = r"(?!놓치|빠뜨리|빠트리|지나치|빼먹|틀리|잃|치우치|벗어나|겹치|잊)"
_NO_CAUSE = "(?![가-힣]{0,2}(?:(?<!에)서|니까|때문에))"
_VERB_DENIED = re.compile(
    rf"(?:{_NO_CAUSE}(?:{_STEM}){{0,3}}[가-힣]?지{_NO}"
    rf"|(?:을|를|에|으로|로|까지|와|과|하고){_KEPT}(?:[가-힣]{{1,3}}[을를])?(?:[가-힣]{{1,2}}[게히로])?(?:{_STEM}){{0,3}}[가-힣]지{_NO}"
    rf"|(?:은|는|도|이|가|에는|으로는|로는|과는|와는)(?:[가-힣]{{1,2}}[게히로])?{_ACT}지{_NO}"
    r"|[가-힣]{0,3}?수(?:가|는|도)?없"
    r"|(?:을|를|은|는|도|에|로|으로)?(?:안|못)(?:해|하|돼|봐|써|쓰|들어|보|넣|줘|받))"
)
_SAID_FALSE = re.compile(
    r"[^\n]{0,12}?(?:라는|다는|란|라고하는)(?:것|말|건|게|설명|주장|얘기|이야기)?(?:은|는|이|도)?"
    r"(?:사실)?(?:이|은)?(?:틀[렸린리려]|거짓|오해|사실이?아니|잘못|아니)"
)
_MODIFIER = re.compile(r"(?:같은|높은|낮은|많은|적은|작은|큰|한|된|인|의|반대)$")
_MODIFIED_DENIED = re.compile(rf"[가-힣\ue000-\uf8ff]{{1,3}}[이가]{_NOT}")
_NEGATION = re.compile(
    "[않못없안말마틀]|아[니닌님냐녜]|다[르른]|달[리라]|대신|무[관시]|거짓|오해|제외|배제|빼고|n[o't]"
)
"""What every denial after a match holds: most words hold none of it and need no closer look."""
_ADVERBS = ("못", "안")
_BEFORE = re.compile(r"(?:(?:^|[^잘])못|(?:^|[을를은는이가도에로])안)$")
_ENGLISH_BEFORE = re.compile(
    r"(?:\bnot|n't|\bnever|\bwithout|\bno|\brather than|\binstead of)\s+(?:(?:a|an|the|its)\s+)?$"
)
_ENGLISH_AFTER = re.compile(r"(?:isnot|isn't|isnt|doesnot|doesn't|doesnt|arenot)")
_OWN = re.compile(r"아니|아닌|아님|않|없|말고|무관|무시|제외|상관|대신|(?:^|[^잘])못|\b안 |\bnot?\b|without|never")
_LOOK_AHEAD = 40


def contains_denial(pattern: str) -> bool:
    """Whether the pattern itself states a negation; its matches are then taken as they are."""
    return bool(_OWN.search(pattern))


def is_denied(reading: Reading, span: Span, *, whole: bool = True) -> bool:
    """Whether the words right after (or, for adverbs, right before) the span deny it.

    With `whole` false the span is the first part of a longer match, and only a denial of the
    noun itself counts (`x축이 아니라 … 재현율`), not that of a verb after it.
    """
    text = reading.text
    after = text[span.end : span.end + _LOOK_AHEAD].split("\n", 1)[0]
    if _NEGATION.search(after):
        if _NOUN_DENIED.match(after) or (_denied_later if whole else _INNER_DENIED.match)(after):
            return True
        if _MODIFIER.search(text, max(0, span.end - 2), span.end) and _MODIFIED_DENIED.match(after):
            return True
    if text.endswith(_ADVERBS, 0, span.start):
        before = text[max(0, span.start - 3) : span.start]
        if _BEFORE.search(before.rsplit("\n", 1)[-1]):
            return True
    if "n" not in reading.letters.text:
        return False
    first = reading.place[span.start]
    origin = reading.letters.origin
    if not first or first >= len(origin):
        return False
    words = reading.letters.source[max(0, origin[first] - 20) : origin[first]].lower()
    return "n" in words and bool(_ENGLISH_BEFORE.search(words))


def _denied_later(after: str) -> bool:
    return bool(_VERB_DENIED.match(after) or _SAID_FALSE.match(after) or _ENGLISH_AFTER.match(after))
