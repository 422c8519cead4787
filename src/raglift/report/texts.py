"""Every text that a report says, in English and Korean, in one table (those on the graders lie beside it).

Korean texts never put a particle behind a value: whether it is 은 or 는 hangs on how the value is read.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from string import Formatter
from typing import Any

from raglift.report.texts_of_graders import GRADERS_TABLE

LANGUAGES = ("en", "ko")

TABLE: dict[str, tuple[str, str]] = {
    **GRADERS_TABLE,
    # the verdict, one sentence; `.rag` where the two arms differ in having a passage
    "verdict.improves.rag": (
        "RAG lifts the model by {lift} points: {b_accuracy} right with it, {a_accuracy} without.",
        "RAG를 쓰면 정답률이 {a_accuracy}에서 {b_accuracy}로 {lift}%p 오릅니다.",
    ),
    "verdict.harms.rag": (
        "RAG costs the model {size} points: {b_accuracy} right with it, {a_accuracy} without.",
        "RAG를 쓰면 정답률이 {a_accuracy}에서 {b_accuracy}로 {size}%p 떨어집니다.",
    ),
    "verdict.equivalent.rag": (
        "RAG makes no difference that matters: {b_accuracy} right with it, {a_accuracy} without.",
        "RAG를 써도 정답률은 사실상 같습니다: 없을 때 {a_accuracy}, 있을 때 {b_accuracy}.",
    ),
    "verdict.inconclusive.rag": (
        "Whether RAG helps is not settled: {b_accuracy} right with it, {a_accuracy} without.",
        "RAG가 도움이 되는지 아직 판단할 수 없습니다: 없을 때 {a_accuracy}, 있을 때 {b_accuracy}.",
    ),
    "verdict.improves": (
        "{b} is right {lift} points more often than {a}: {b_accuracy} against {a_accuracy}.",
        "{a} 대비 {b} 정답률이 {lift}%p 높습니다: {a_accuracy} → {b_accuracy}.",
    ),
    "verdict.harms": (
        "{b} is right {size} points less often than {a}: {b_accuracy} against {a_accuracy}.",
        "{a} 대비 {b} 정답률이 {size}%p 낮습니다: {a_accuracy} → {b_accuracy}.",
    ),
    "verdict.equivalent": (
        "{b} and {a} are equally good: {b_accuracy} against {a_accuracy}.",
        "{a}, {b} 두 조건의 정답률은 사실상 같습니다: {a_accuracy}, {b_accuracy}.",
    ),
    "verdict.inconclusive": (
        "Which of {b} and {a} is better is not settled: {b_accuracy} against {a_accuracy}.",
        "{a}, {b} 중 어느 쪽이 나은지 아직 판단할 수 없습니다: {a_accuracy}, {b_accuracy}.",
    ),
    "verdict.not estimable": (
        "There are too few questions to compare {b} with {a}.",
        "{a}, {b} 두 조건을 비교하기에는 질문이 너무 적습니다.",
    ),
    "verdict.one arm": ("One arm was run, so nothing is compared.", "조건이 하나뿐이라 비교 결과가 없습니다."),
    "verdict.needed": (
        "About {count} {count:question|questions} would settle it.",
        "판단하려면 질문이 약 {count}개 필요합니다.",
    ),
    "verdict.more seeds": (
        "No number of questions alone would settle it; more training seeds would.",
        "질문을 늘리는 것만으로는 판단할 수 없고, 학습 시드를 늘려야 합니다.",
    ),
    "verdict.margin": (
        "The difference lies within {margin} points of 0 in both directions.",
        "차이가 양방향 모두 ±{margin}%p 안에 있습니다.",
    ),
    "verdict.word.improves": ("improves", "향상"),
    "verdict.word.harms": ("harms", "저하"),
    "verdict.word.equivalent": ("equivalent", "동등"),
    "verdict.word.inconclusive": ("inconclusive", "판단 불가"),
    "verdict.word.not estimable": ("not estimable", "추정 불가"),
    "headline.basis": (
        "{questions} {split} {questions:question|questions}, {samples} {samples:answer|answers} each; "
        "{differing} {differing:question differs|questions differ} between the arms.",
        "{split} 질문 {questions}개, 질문마다 답변 {samples}개. 두 조건의 결과가 다른 질문은 {differing}개.",
    ),
    "headline.basis.seeds": (
        "{questions} {split} {questions:question|questions}, {samples} {samples:answer|answers} each with each of "
        "{seeds} training seeds; {differing} {differing:question differs|questions differ} between the arms.",
        "{split} 질문 {questions}개, 학습 시드 {seeds}개, 시드와 질문마다 답변 {samples}개. "
        "두 조건의 결과가 다른 질문은 {differing}개.",
    ),
    "headline.basis.table": (
        "{questions} {questions:question|questions}; {differing} {differing:differs|differ} between the two.",
        "질문 {questions}개. 두 조건의 결과가 다른 질문은 {differing}개.",
    ),
    "headline.other": (
        "On {split} questions: {lift} points{interval}, {word}.",
        "{split} 질문에서는 {lift}%p{interval}, {word}.",
    ),
    "test.exact": ("exact sign-flip permutation test", "정확 부호 순열 검정"),
    "test.monte-carlo": ("Monte-Carlo sign-flip permutation test", "몬테카를로 부호 순열 검정"),
    "test.two-level": ("over questions and training seeds", "질문과 학습 시드를 함께 본 검정"),
    "test.none": ("not tested", "검정하지 않음"),
    # words
    "word.lift": ("Lift", "향상 폭"),
    "word.points": ("points", "%p"),
    "word.interval": ("95% interval", "95% 신뢰구간"),
    "word.p": ("p-value", "p값"),
    "word.p_holm": ("p (Holm)", "p (Holm)"),
    "word.verdict": ("Verdict", "판정"),
    "word.accuracy": ("Accuracy", "정답률"),
    "word.question": ("Question", "질문"),
    "word.overall": ("Overall", "전체 평균"),
    "word.arm": ("Arm", "조건"),
    "word.split": ("Split", "구분"),
    "word.effect": ("Effect", "효과"),
    "word.correct": ("correct", "정답"),
    "word.incorrect": ("incorrect", "오답"),
    "word.unscored": ("unscored", "채점 불가"),
    "word.truncated": ("cut off", "잘림"),
    "word.reason": ("Reason", "이유"),
    "word.reasons": ("reasons", "오답 이유"),
    "word.count": ("Answers", "답변 수"),
    "word.where": ("Questions", "질문"),
    "word.reference": ("Reference", "모범 답안"),
    "word.passage": ("Passage", "지식 문서"),
    "word.passages": ("Passages in the prompt", "프롬프트에 넣은 문서"),
    "word.prompt": ("Prompt", "프롬프트"),
    "word.answer": ("Answer", "답변"),
    "word.evidence": ("Evidence", "근거"),
    "word.seed": ("seed {seed}", "시드 {seed}"),
    "word.tokens": ("{count} {count:token|tokens}", "토큰 {count}개"),
    "word.score": ("score {score}", "점수 {score}"),
    "word.empty": ("(empty answer)", "(빈 답변)"),
    "split.seen": ("seen", "학습(seen)"),
    "split.unseen": ("unseen", "미학습(unseen)"),
    "split.absent": ("absent", "부재(absent)"),
    "split.all": ("all", "전체"),
    "split.seen.what": ("passage also in the training rows", "학습 데이터에 나온 문서"),
    "split.unseen.what": ("passage never trained on", "학습하지 않은 문서"),
    "split.absent.what": (
        "nothing in the knowledge base answers; right is to say so",
        "문서에 답이 없음, 없다고 해야 정답",
    ),
    "arm.how": (
        "An arm is tuning.context: what the weights went through, and what the prompt holds.",
        "조건은 tuning.context로 적습니다. 가중치가 거친 학습과 프롬프트에 담긴 내용입니다.",
    ),
    "tuning.base": ("base: not tuned", "base: 튜닝 없음"),
    "tuning.sft": ("sft: tuned on question → answer", "sft: 질문 → 답변으로 학습"),
    "tuning.rag-sft": ("rag-sft: tuned on passage + question → answer", "rag-sft: 문서 + 질문 → 답변으로 학습"),
    "context.none": ("none: the bare question", "none: 질문만"),
    "context.oracle": ("oracle: the right passage", "oracle: 정답 문서"),
    "context.retrieved": ("retrieved: what the search returns", "retrieved: 검색 결과"),
    "context.distractor": ("distractor: the right passage among wrong ones", "distractor: 정답 문서와 다른 문서들"),
    "context.counterfactual": (
        "counterfactual: the right passage, one fact altered",
        "counterfactual: 사실 하나를 바꾼 문서",
    ),
    "context.irrelevant": ("irrelevant: a wrong passage alone", "irrelevant: 관계없는 문서만"),
    # sections
    "title": ("{name}: does RAG help?", "{name}: RAG가 도움이 될까?"),
    "section.lift": ("Lift of each comparison", "비교별 향상 폭"),
    "section.arms": ("Accuracy of each arm", "조건별 정답률"),
    "section.effects": ("Tuning, context, and both", "튜닝 효과, 문맥 효과, 상호작용"),
    "section.questions": ("Question by question", "질문별 결과"),
    "section.failures": ("Where the answers were wrong", "오답과 그 이유"),
    "section.retrieval": ("Retrieval", "검색"),
    "section.behaviour": ("Does the model read the passage?", "모델이 문서를 읽는가"),
    "section.training": ("Training", "학습 곡선"),
    "section.trust": ("How far the grades can be trusted", "채점을 얼마나 믿을 수 있나"),
    "section.limits": ("What this run cannot say", "이 결과로 알 수 없는 것"),
    "section.run": ("How the run was made", "실행 정보"),
    "lift.note": (
        "Points with their 95% interval. The grey band is the margin of equivalence, ±{margin}. "
        "Only the headline was fixed in advance; the others carry p corrected by Holm.",
        "%p와 95% 신뢰구간. 회색 띠는 동등 한계 ±{margin}. "
        "미리 정한 비교는 대표 비교 하나이며, 나머지 p값은 Holm 방법으로 보정했습니다.",
    ),
    "arms.note": (
        "Mean over the questions with its 95% interval; the two compared arms are coloured.",
        "질문별 정답률의 평균과 95% 신뢰구간. 비교한 두 조건만 색으로 표시했습니다.",
    ),
    "effects.note": (
        "From four arms of the grid, against the untuned model: what tuning adds, what the right passage "
        "adds, and how far the second depends on the first.",
        "튜닝하지 않은 모델과 비교한 네 조건의 격자에서 계산했습니다. 튜닝이 더한 몫, 정답 문서가 더한 몫, "
        "그리고 튜닝에 따라 문서의 몫이 달라지는 정도입니다.",
    ),
    "effect.tuning": ("tuning", "튜닝"),
    "effect.context": ("context", "문맥"),
    "effect.interaction": ("interaction", "상호작용"),
    "questions.note": (
        "From worst to best by {b}, then {a}. Open a question for its answers, prompts, passages and grades.",
        "{b}, {a} 순으로 정답률이 낮은 질문부터. 질문을 열면 답변, 프롬프트, 문서, 채점이 나옵니다.",
    ),
    "questions.capped": (
        "The answers of {count} more questions are left out of this page to keep it small; they are in answers.log.",
        "파일이 너무 커지지 않도록 질문 {count}개의 답변은 여기서 뺐습니다. answers.log에 있습니다.",
    ),
    "questions.hidden": (
        "{count} more questions are in table.csv and report.json.",
        "나머지 질문 {count}개는 table.csv와 report.json에 있습니다.",
    ),
    "heat.none right": ("none right", "모두 오답"),
    "heat.all right": ("all right", "모두 정답"),
    "failures.none": ("Every scored answer was correct.", "채점한 답변이 모두 정답입니다."),
    "failures.more": ("and {count} more", "외 {count}개"),
    "failures.rest": ("{count} rarer reasons are in report.json.", "드문 이유 {count}가지는 report.json에 있습니다."),
    "reason.missing": ("a required statement is missing", "꼭 필요한 내용이 빠짐"),
    "reason.denied": ("a required statement is denied", "꼭 필요한 내용을 부정함"),
    "reason.forbidden": ("says what it must not", "하면 안 되는 말을 함"),
    "reason.contradiction": ("gives a contradicting formula too", "모순되는 식을 함께 말함"),
    "retrieval.hit_at_1": ("Right passage first", "정답 문서가 1위"),
    "retrieval.hit_at_3": ("Right passage among 3", "정답 문서가 3위 안"),
    "retrieval.mrr": ("Mean reciprocal rank", "평균 역순위(MRR)"),
    "retrieval.rejected": ("Nothing returned for absent questions", "답 없는 질문에 결과 없음"),
    "retrieval.loss": (
        "What real search changes against the right passage, in points: over all questions, where the right "
        "passage was handed over, and where it was not.",
        "정답 문서 대비 실제 검색이 바꾼 폭(%p): 전체, 정답 문서를 찾은 질문, 찾지 못한 질문.",
    ),
    "retrieval.all": ("all", "전체"),
    "retrieval.hit": ("found", "찾음"),
    "retrieval.miss": ("not found", "못 찾음"),
    "behaviour.counterfactual": ("A passage with one fact altered", "사실 하나를 바꾼 문서"),
    "behaviour.absent": ("Nothing in the knowledge base answers", "문서에 답이 없는 질문"),
    "behaviour.irrelevant": ("A wrong passage alone", "관계없는 문서만"),
    "behaviour.follows_passage": ("follows the passage", "문서를 따름"),
    "behaviour.follows_memory": ("follows its memory", "기억을 따름"),
    "behaviour.other": ("other", "기타"),
    "behaviour.declines": ("declines", "모른다고 함"),
    "behaviour.invents": ("invents", "지어냄"),
    "behaviour.misled": ("misled", "잘못 이끌림"),
    "behaviour.not misled": ("not misled", "이끌리지 않음"),
    "training.loss": ("Loss", "손실"),
    "training.gradient_norm": ("Gradient norm", "기울기 크기"),
    "training.epoch": ("epoch", "에폭"),
    "training.note": (
        "Loss on the answer tokens and size of the gradient, a point per logged step. "
        "A loss near 0 means that the training rows are known by heart.",
        "답변 토큰의 손실과 기울기 크기, 기록한 스텝마다 한 점. 손실이 0에 가까우면 학습 데이터를 외웠다는 뜻입니다.",
    ),
    # limits
    "limits.oracle": (
        "{b} was given the right passage: the headline holds no retrieval error.",
        "{b} 조건에는 늘 정답 문서를 주었습니다. 대표 결과에 검색 오류는 들어 있지 않습니다.",
    ),
    "limits.seen": (
        "The headline questions ask about passages of the training rows; it says nothing about new facts.",
        "대표 결과의 질문은 학습에 쓴 문서에서 나왔습니다. 새로운 사실에 대해서는 말해 주지 않습니다.",
    ),
    "limits.seeds": (
        "One training seed: another seed may train other weights, and that spread is in no interval here.",
        "학습 시드가 하나입니다. 시드에 따라 가중치가 달라질 수 있으나 그 변동은 신뢰구간에 없습니다.",
    ),
    "limits.detectable": (
        "A true lift below about {points} points would probably have gone unnoticed with these questions.",
        "이 질문 수로는 약 {points}%p보다 작은 차이를 놓칠 가능성이 큽니다.",
    ),
    "limits.rubric": (
        "Grades come from rubrics: what a rubric does not name, it does not judge. No person checked them here.",
        "채점은 루브릭으로 했습니다. 루브릭에 없는 것은 보지 않으며, 여기서 사람이 확인하지 않았습니다.",
    ),
    "limits.judge": (
        "Grades come from a language model, whose judgement no person checked here.",
        "언어 모델이 채점했고, 여기서 사람이 확인하지 않았습니다.",
    ),
    "limits.rubric.checked": (
        "Grades come from rubrics: what a rubric does not name, it does not judge. For people's "
        "verdicts beside them, see “How far the grades can be trusted” in the report.",
        "채점은 루브릭으로 했습니다. 루브릭에 없는 것은 보지 않습니다. 사람의 채점과 얼마나 일치하는지는 "
        "보고서의 ‘채점을 얼마나 믿을 수 있나’에 있습니다.",
    ),
    "limits.judge.checked": (
        "Grades come from a language model; for people's verdicts beside it, see “How far the grades can be trusted” "
        "in the report.",
        "언어 모델이 채점했습니다. 사람의 채점과 얼마나 일치하는지는 보고서의 ‘채점을 얼마나 믿을 수 있나’에 있습니다.",
    ),
    "limits.human": (
        "Grades come from people, and no two graded the same answers: how far another would agree is open.",
        "사람이 채점했고, 두 사람이 함께 채점한 답변은 없습니다. 다른 사람도 같게 채점할지는 알 수 없습니다.",
    ),
    "limits.human.checked": (
        "Grades come from people; how far they agree is under “How far the grades can be trusted” in the report.",
        "사람이 채점했습니다. 채점자끼리 얼마나 일치하는지는 보고서의 ‘채점을 얼마나 믿을 수 있나’에 있습니다.",
    ),
    "limits.no unseen": (
        "No unseen questions were asked: memory and reading cannot be told apart.",
        "학습하지 않은 질문이 없어 기억과 독해를 구별할 수 없습니다.",
    ),
    "limits.no counterfactual": (
        "No altered passages were tried, so whether the model would follow a wrong passage is open.",
        "사실을 바꾼 문서로 시험하지 않아, 틀린 문서를 따르는지는 알 수 없습니다.",
    ),
    "limits.unscored": (
        "{count} {count:answer|answers} could not be scored and {count:is|are} left out, not counted wrong.",
        "답변 {count}개는 채점하지 못해 오답으로 세지 않고 뺐습니다.",
    ),
    "limits.truncated": (
        "{count} {count:answer|answers} reached the token limit and {count:was|were} cut off before the end.",
        "답변 {count}개는 토큰 한도에서 잘렸습니다.",
    ),
    "limits.excluded": (
        "Left out of the comparison, for an arm had no scored answer to {count:it|them}: "
        "{count} {count:question|questions}.",
        "한쪽 조건에 채점된 답변이 없어 질문 {count}개를 비교에서 뺐습니다.",
    ),
    "limits.model": (
        "One model ({model}) and one knowledge base: other models and topics may turn out otherwise.",
        "모델 하나({model}), 지식 하나의 결과입니다. 다른 모델과 주제에서는 다를 수 있습니다.",
    ),
    # the run
    "run.settings": ("Settings", "설정"),
    "run.versions": ("Versions", "버전"),
    "run.machine": ("Machine", "컴퓨터"),
    "run.judge": ("Judge", "채점 모델"),
    "run.remote": ("Model on a server", "서버의 모델"),
    "run.times": ("Times", "걸린 시간"),
    "run.hashes": ("Hashes", "해시"),
    "run.memory": ("Peak memory", "최대 메모리"),
    "run.key": ("Key", "항목"),
    "run.value": ("Value", "값"),
    "run.variance": ("Variance of one question's difference (points²)", "질문 하나의 차이의 분산 (%p²)"),
    "variance.question": ("between questions", "질문 사이"),
    "variance.sampling": ("sampling of answers", "답변 표집"),
    "variance.seed": ("between training seeds", "학습 시드 사이"),
    "variance.seed_by_question": ("seeds by question", "시드 × 질문"),
    # the page
    "page.save": ("Save as SVG", "SVG로 저장"),
    "page.contents": ("Contents", "차례"),
    "page.numbers": ("The same as a table", "표로 보기"),
    "page.filter": ("Show", "보기"),
    "page.search": ("Find in questions", "질문 찾기"),
    "page.made": (
        "Made by raglift {version}. All of it is in this one file.",
        "raglift {version}로 만들었습니다. 이 파일 하나에 모두 들어 있습니다.",
    ),
    "log.note": ("Seconds are the batch's time divided by its answers.", "초는 배치 시간을 답변 수로 나눈 값입니다."),
    "summary.report": ("Report: {file}", "보고서: {file}"),
    # a sweep
    "sweep.title": ("{name}: a sweep of {keys}", "{name}: {keys} 설정 비교"),
    "sweep.about": (
        "{count} {count:setting|settings}, each by the lift {a} → {b} on {questions} {split} "
        "{questions:question|questions}.",
        "설정 {count}개. 설정마다 {split} 질문 {questions}개에서 {a} → {b} 향상 폭을 구했습니다.",
    ),
    "sweep.note": (
        "Exploratory: the settings were tried on the same questions, so the best of them looks better than it is. "
        "p is Holm-adjusted for all settings of this sweep. Confirm a chosen setting on questions that no setting "
        "has seen.",
        "탐색 결과입니다. 모든 설정을 같은 질문으로 시험했으므로 가장 좋은 설정은 실제보다 좋아 보입니다. "
        "p값은 모든 설정에 대해 Holm 방법으로 보정했습니다. 고른 설정은 어떤 설정에도 쓰지 않은 질문으로 확인하세요.",
    ),
    "sweep.lifts": ("Lift of each setting", "설정별 향상 폭"),
    "sweep.band": (
        "Points with their 95% interval. The grey band is the margin of equivalence, ±{margin}.",
        "%p와 95% 신뢰구간. 회색 띠는 동등 한계 ±{margin}.",
    ),
    "sweep.file": ("Sweep: {file}", "설정 비교: {file}"),
    "word.setting": ("Setting", "설정"),
    "figure.forest": ("Forest plot of lifts", "향상 폭 그래프"),
    "figure.arms": ("Accuracy of each arm by split", "구분별, 조건별 정답률"),
    "figure.training": ("Training curves", "학습 곡선"),
    "figure.behaviour": ("Shares of behaviour: {what}", "행동 비율: {what}"),
}

Say = Callable[..., str]


def speak(language: str) -> Say:
    """The texts of a language as a function: `say("limits.unscored", count=3)`."""
    return partial(_say, LANGUAGES.index(language) if language in LANGUAGES else 0)


def _say(place: int, key: str, **values: object) -> str:
    return _TEXT.vformat(TABLE[key][place], (), values)


class _Text(Formatter):
    """`{count} {count:answer|answers}` says "1 answer" and "3 answers"."""

    def format_field(self, value: Any, format_spec: str) -> Any:
        one, bar, several = format_spec.partition("|")
        if bar:
            return one if str(value) == "1" else several
        return super().format_field(value, format_spec)


_TEXT = _Text()


def say_verdict_word(say: Say, verdict: object) -> str:
    """A verdict in the reader's language; one that is not known stays as it is."""
    key = f"verdict.word.{verdict}"
    return say(key) if key in TABLE else str(verdict or "")


def say_split(say: Say, split: object) -> str:
    key = f"split.{split}"
    return say(key) if key in TABLE else str(split or "")
