"""Tables of what each kind of pattern matches and does not match."""

from __future__ import annotations

import pytest

from raglift.errors import InputError
from raglift.grading.expressions import Screen
from raglift.grading.normalization import read_letters
from raglift.grading.patterns import Alternatives, compile_pattern
from raglift.grading.reading import read_text
from raglift.grading.terms import load_terms
from raglift.records import Passage


def matches(pattern: str, text: str) -> bool:
    table = load_terms()
    return bool(compile_pattern(pattern, table).find(read_text(text, table)))


PHRASES = [
    ("벡터 방향", "벡터의 방향이 비슷한 정도야"),
    ("벡터 방향", "벡터가 방향을 가져"),
    ("벡터 방향", "벡터방향"),
    ("벡터 방향", "vector direction"),
    ("실제 양성", "실제 값이 Positive 인 것"),
    ("실제 양성", "실제로는 양성이야"),
    ("조화 평균", "조화평균을 구해"),
    ("조화 평균", "harmonic mean 이야"),
    ("TP", "TP는 맞힌 개수야"),
    ("TP", "True Positive (TP) 야"),
    ("TP", "참 양성의 개수"),
    ("PR-AUC", "prauc 를 써"),
    ("PR-AUC", "PR AUC"),
    ("재현율", "리콜이 높아"),
    ("재현율", "Recall 값이 높아"),
    ("재현율", "민감도가 높아"),
    ("-1", "값은 −1.0 이야"),
    ("-1", "마이너스 1까지"),
    ("1", "최대는 +1.0이야"),
    ("0", "수직이면 0.0"),
    ("오버샘플링", "oversampling 을 해"),
    ("망각 게이트", "forget gate 가 있어"),
    ("폭발", "기울기 폭발을 막아"),
    ("상관없", "크기는 상관없어"),
    ("실제 음성", "실제로는 Positive 가 아닌데"),
    ("실제 양성", "실제로 True 인 것"),
    ("실제 음성", "실제로는 거짓인데"),
    ("양성 … 예측", "참이라고 예측한 것"),
    ("중요하지 않", "크기는 중요하지 않아"),
    ("음성 예측", "Positive 가 아니라고 예측했어"),
    ("실제 양성", "양성으로 예측했는데 진짜 양성인 거야"),
    ("수직 0", "1. 같으면 +1.0 2. 수직이면 0.0 3. 반대면 -1.0"),
    ("수직 0", "① 같으면 +1.0 ② 수직이면 0.0 ③ 반대면 -1.0"),
    ("수직 0", "1) 같으면 +1.0\n2) 수직이면 0.0\n3) 반대면 -1.0"),
    ("0 ~ 1", "범위는 0 ~ 1. 그리고 2 는 아니야"),
]
NOT_PHRASES = [
    ("2", "1. 정확도 2. 재현율"),
    ("TP", "http 로 보내"),
    ("TP", "TPR 을 봐"),
    ("양성", "참 양성이야"),
    ("양성", "다양성이 커"),
    ("평균", "조화 평균이야"),
    ("정밀도", "재현율이야"),
    ("1", "10개야"),
    ("1", "값은 0.1이야"),
    ("1", "-1이야"),
    ("로그", "음성으로 그 값을 예측해"),
    ("FN", "실제가 음성이야"),
    ("조화 평균", "조화 평균이 아니라 산술 평균이야"),
    ("TP", "TP가 아닌 것"),
    ("양성", "예측이 맞으면 True 라는 뜻이야, 참고해"),
    ("음성", "거짓말이야"),
    ("방향", "방향을 보지 않아"),
    ("방향", "방향과는 상관없어"),
    ("크기", "크기는 고려하지 않아"),
    ("크기", "크기와 무관해"),
    ("recall", "it is not recall"),
    ("찾", "양성을 못 찾은 비율"),
    ("정밀도", "정밀도라는 말은 틀렸어"),
    ("t-분포", "t-분포 대신 정규 분포를 써"),
]


@pytest.mark.parametrize(("pattern", "text"), PHRASES)
def test_phrase_matches(pattern: str, text: str) -> None:
    assert matches(pattern, text)


@pytest.mark.parametrize(("pattern", "text"), NOT_PHRASES)
def test_phrase_does_not_match(pattern: str, text: str) -> None:
    assert not matches(pattern, text)


NOT_DENIED = [
    ("방향", "방향만 보고 크기는 보지 않아"),
    ("재현율", "재현율만이 아니라 정밀도도 봐"),
    ("재현율", "재현율뿐만 아니라 정밀도도 봐"),
    ("실제 양성", "실제 양성을 놓치지 않고 찾아"),
    ("평균", "평균을 빼고 표준편차로 나눠"),
    ("검증 손실", "검증 손실이 줄지 않으면 멈춰"),
    ("예측", "음성을 양성으로 잘못 예측해"),
    ("오차", "오차를 없애는 방법"),
    ("정규 분포", "t-분포 대신 정규 분포를 써"),
    ("단순", "모델이 단순해서 배우지 못해"),
    ("re: 너무단순", "너무 단순해서 데이터를 충분히 설명하지 못하는 거야"),
    ("평균 … 표준편차", "평균을 빼고 표준편차로 나눠"),
    ("W … S", "W에서 F를 빼고 S로 나눠"),
]


@pytest.mark.parametrize(("pattern", "text"), NOT_DENIED)
def test_natural_negation_is_no_denial(pattern: str, text: str) -> None:
    assert matches(pattern, text)


CHAINS = [
    ("실제 양성 … 찾", "실제 양성 중에서 모델이 찾아낸 비율"),
    ("재현율 … FN", "정밀도는 FP, 재현율은 FN"),
    ("FN … 재현율", "FP가 늘면 정밀도가, FN이 늘면 재현율이 낮아져"),
    ("재현율 … FN", "재현율은 정밀도와 달리 FN이 많으면 낮아져"),
    ("TP & TN & FP & FN", "FN, FP, TN, TP의 개수야"),
    ("실제 & 예측", "예측과 실제를 비교해"),
]
NOT_CHAINS = [
    ("재현율 … FN", "재현율은 FP가 많으면, 정밀도는 FN이 많으면 낮아져"),
    ("FP … 재현율", "FP가 늘면 정밀도가 낮아지고, FN이 늘면 재현율이 낮아져"),
    ("실제 양성 … 찾", "찾은 것 중 실제 양성"),
    ("실제 양성 … 찾", "실제 양성이야. 모델이 찾아"),
    ("TP & TN", "TP야. TN이야."),
    ("재현율 … 높", "재현율" + "가" * 40 + "높"),
    ("크기 … 비교", "크기를 무시하고 방향을 비교해"),
]


@pytest.mark.parametrize(("pattern", "text"), CHAINS)
def test_chain_matches(pattern: str, text: str) -> None:
    assert matches(pattern, text)


@pytest.mark.parametrize(("pattern", "text"), NOT_CHAINS)
def test_chain_does_not_match(pattern: str, text: str) -> None:
    assert not matches(pattern, text)


RECALL_ON_X = [
    "x축이 재현율, y축이 정밀도야",
    "가로축에 recall을, 세로축에 precision을 둔 곡선",
    "재현율을 x축으로, 정밀도를 y축으로",
    "재현율을 x축으로 정밀도를 y축으로 하는",
    "재현율이 x축, 정밀도가 y축",
    "x축과 y축이 각각 재현율과 정밀도",
    "재현율과 정밀도를 각각 x축과 y축으로 둬",
    "PR-AUC는 재현율(Recall)을 x축, 정밀도(Precision)를 y축으로 한 면적",
    "x축: Recall, y축: Precision",
    "재현율(x축)과 정밀도(y축)의 곡선",
    "x축(재현율)과 y축(정밀도)",
    "x축에 재현율 y축에 정밀도",
    "정밀도와 재현율의 관계로, x축이 재현율 y축이 정밀도",
    "x축이 정밀도가 아니라 재현율이고 y축이 정밀도야",
    "x, y축이 각각 재현율, 정밀도야",
    "y축이 정밀도, x축이 재현율",
    "x축은 재현율이야. y축은 정밀도야!",
]
PRECISION_ON_X = [
    "x축이 정밀도, y축이 재현율이야",
    "정밀도를 x축, 재현율을 y축",
    "x축과 y축이 각각 정밀도와 재현율",
    "y축이 재현율, x축이 정밀도",
    "정밀도(x축)과 재현율(y축)",
]


@pytest.mark.parametrize("text", RECALL_ON_X)
def test_axes_are_bound(text: str) -> None:
    assert matches("x축 … 재현율", text)
    assert matches("재현율 … x축", text)
    assert not matches("y축 … 재현율", text)
    assert not matches("x축 … 정밀도", text)


@pytest.mark.parametrize("text", PRECISION_ON_X)
def test_swapped_axes_are_not(text: str) -> None:
    assert not matches("x축 … 재현율", text)
    assert matches("x축 … 정밀도", text)


def test_axes_of_the_roc_curve() -> None:
    assert matches("x축 … FPR", "x축이 1 - 특이도, y축이 민감도(TPR)야")
    assert matches("y축 … TPR", "x축이 1 - 특이도, y축이 민감도(TPR)야")
    assert not matches("x축 … 특이도", "x축이 1-특이도야")
    assert matches("분모 … FN", "분자는 TP, 분모는 TP + FN이야")
    assert not matches("분자 … FN", "분자는 TP, 분모는 TP + FN이야")


EXPRESSIONS = [
    ("re: {recall}.{0,6}낮", "리콜이 낮아져"),
    ("re: 재현율(이|은)낮", "Recall 이 낮다"),
    ("re: 맞[힌춘]", "모델이 맞힌 비율"),
    ("re: 0~1|0에서1", "0-1 사이"),
    ("re: 조화.{0,2}평균", "조화 평균이야"),
    ("re: 실제 양성", "실제 Positive"),
    ("re: {forget-gate}", "망각 게이트야"),
    (r"re: (^|[^0-9.])0에가까", "면적이야! 0에 가까워"),
    ("re: overfit", "Overfitting 을 막아"),
    ("re: {recall}[^{precision}]{0,20}{fn}", "재현율은 FN이 많으면"),
    ("re: TP.FN", "TP,FN"),
    ("re: a[^-0-9.]b", "a가b"),
    ("re: [^-가.]나", "다나"),
    ("re: (?:!|가)나", "가나"),
    ("re: {intersection}/{union}", "교집합/합집합이야"),
    (r"re: √\(?{mse}", "√MSE 야"),
    ("re: 크기가아니|방향", "방향이야"),
    ("re: 크기가아니|방향", "크기가 아니야"),
]
NOT_EXPRESSIONS = [
    ("re: {recall}.{0,6}낮", "정밀도가 낮아져"),
    ("re: tp.{0,3}보내", "http로 보내"),
    ("re: 평균", "조화 평균이야"),
    ("re: {recall}.{0,30}{fn}", "재현율이야. FN이야"),
    ("re: {recall}[^{precision}]{0,20}{fn}", "재현율, 정밀도, FN"),
    ("re: {harmonic-mean}", "조화 평균이 아니야"),
    ("re: a[^-0-9.]b", "a-b"),
    ("re: [^-가.]나", "-나"),
    ("re: [^-가.]나", "야. 나"),
    ("re: (?:!|가)나", "다나"),
    ("re: 크기가아니|방향", "방향이 아니라 크기야"),
    ("re: {gradient}의같은", "기울기의 같은 방향이 아니라 반대 방향으로 가"),
]


@pytest.mark.parametrize(("pattern", "text"), EXPRESSIONS)
def test_expression_matches(pattern: str, text: str) -> None:
    assert matches(pattern, text)


@pytest.mark.parametrize(("pattern", "text"), NOT_EXPRESSIONS)
def test_expression_does_not_match(pattern: str, text: str) -> None:
    assert not matches(pattern, text)


def test_a_denied_match_hides_no_later_one() -> None:
    assert matches("re: {precision}|{recall}", "정밀도가 아니라 재현율이야")
    assert matches("TP", "TP가 아닌 것 중에 TP")


@pytest.mark.parametrize(
    "pattern",
    ["", "re:", "re: (a", r"re: (?=a)", r"re: (a)\1", "re: {no such term}", "formula:", "formula: 재현율", "!!", " … ",
     "re: [\udcff]", "re: a\\\udcff"],
)  # fmt: skip
def test_unreadable_pattern_is_the_users_error(pattern: str) -> None:
    with pytest.raises(InputError) as problem:
        compile_pattern(pattern, load_terms())
    assert "pattern" in str(problem.value)


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("true positive rate", ["tpr"]),
        ("True Positive 의 개수", ["tp", "count"]),
        ("TPFN", ["tp", "fn"]),
        ("F1-score와 F1 점수와 에프원", ["f1", "f1", "f1"]),
        ("거짓 양성 비율, 위양성률, FPR", ["fpr", "fpr", "fpr"]),
        ("코사인유사도 cosine similarity", ["cosine-similarity", "cosine-similarity"]),
        ("오차 행렬", ["confusion-matrix"]),
        ("가로축 X-axis 세로축", ["x-axis", "x-axis", "y-axis"]),
        ("http tpx xtp", []),
        ("부정으로, 긍정으로, 부정확한", ["negative", "positive", "other-words"]),
    ],
)
def test_terms(text: str, terms: list[str]) -> None:
    table = load_terms()
    assert [table.term_of[mention.sign] for mention in table.find_mentions(read_letters(text))] == terms


def test_passages_teach_names_unless_ambiguous() -> None:
    passages = [
        Passage("wombat", "Wombat Score (웜뱃 점수) : 새로운 지표"),
        Passage("recall", "Recall (되찾음율) : 재현율"),
        Passage("one", "Alpha Thing (같은이름) : a"),
        Passage("two", "Beta Thing (같은이름) : b"),
        Passage("odd", "no head at all"),
    ]
    table = load_terms().extended(passages)

    def found(pattern: str, text: str) -> bool:
        return bool(compile_pattern(pattern, table).find(read_text(text, table)))

    assert found("웜뱃 점수", "wombat score 야")
    assert found("재현율", "되찾음율이야")
    assert not found("Alpha Thing", "같은이름이야")
    assert load_terms().extended([]) is load_terms()


def test_a_group_looks_closer_at_every_expression_that_matches() -> None:
    table = load_terms()
    sources = ["re: ^재현", "re: 끝$", "re: {recall}", "re: 없는말", "re: (?:^|[^a-z])pr(?:[^a-z]|$)"]
    group = Alternatives([compile_pattern(source, table) for source in sources])
    screen = Screen(group.expressions)
    for text in ["재현은 끝", "pr", "이건 재현율이야! 끝", "끝이야", "실제 pr 곡선", ""]:
        reading = read_text(text, table)
        matched = [one for one in group.expressions if one.find(reading)]
        assert set(matched) <= set(screen.pick(reading))
        assert (group.find(reading) or (None,))[0] == (matched[0] if matched else None)
    assert not screen.pick(read_text("조화 평균", table))


def test_a_search_beyond_memory_leaves_every_expression() -> None:
    group = Alternatives([compile_pattern(source, load_terms()) for source in ("re: 하나", "re: 둘")])
    screen = Screen(group.expressions)
    screen._set = type("Full", (), {"Match": lambda self, text: None})()
    assert list(screen.pick(read_text("셋", load_terms()))) == list(group.expressions)
