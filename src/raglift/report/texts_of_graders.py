"""What a report says of graders, in English and Korean: reasons of grades, agreement, the corrected lift, warnings.

The English of `reason`, `warning` and `uncorrected` is what graders, agreement and correction wrote (see wording).
"""

GRADERS_TABLE: dict[str, tuple[str, str]] = {
    "reason.empty": ("the answer is empty", "답변이 비어 있음"),
    "reason.question": ("the answer only repeats the question", "질문을 되풀이하기만 함"),
    "reason.title": ("the answer only repeats the title", "문서 제목을 되풀이하기만 함"),
    "reason.met": ("every requirement is met", "모든 요건을 채움"),
    "reason.cut": (" (the answer was cut at its length limit)", " (답변이 길이 한도에서 잘림)"),
    "reason.none of": ("{rule}: none of {named} found", "{rule}: 다음 중 하나도 없음: {named}"),
    "reason.denies": ("{rule}: denied, {named}", "{rule}: 부정함, {named}"),
    "reason.says": ("{rule}: says {named}", "{rule}: 하면 안 되는 말, {named}"),
    "reason.votes": ("{agreeing} of {votes} {votes:vote|votes}: {named}", "{votes}표 중 {agreeing}표: {named}"),
    "reason.no majority": (
        "no majority of {votes} {votes:vote|votes} ({correct} correct, {incorrect} incorrect); {named}",
        "{votes}표에 과반 없음 (정답 {correct}, 오답 {incorrect}); {named}",
    ),
    "reason.reviewers": ("reviewers differ ({named}", "채점자 의견이 다름 ({named}"),
    # how far the grades can be trusted
    "trust.note": (
        "What two graders say of the same answers. Kappa is agreement beyond chance: 1 is complete, 0 is chance, "
        "below 0.667 no conclusion should rest on it. It is low by nature where nearly all answers are right.",
        "같은 답변을 두 채점자가 어떻게 보았는지입니다. kappa는 우연을 뺀 일치도로, 1이면 완전 일치, 0이면 우연 "
        "수준이며 0.667보다 낮으면 결론의 근거로 삼지 않는 것이 좋습니다. 거의 모든 답변이 정답이면 kappa는 원래 낮게 "
        "나옵니다.",
    ),
    "agreement.measured": (
        "{agreed} of {answers} {answers:answer|answers} agree, Cohen's kappa {kappa}.",
        "답변 {answers}개 중 {agreed} 일치, Cohen's kappa {kappa}.",
    ),
    "agreement.headline": ("The headline's answers: {measured}", "대표 비교의 답변: {measured}"),
    "agreement.left out": (
        "{count} {count:answer lacks|answers lack} a verdict of one of the two.",
        "둘 중 한쪽의 판정이 없는 답변 {count}개는 뺐습니다.",
    ),
    "agreement.no answers": ("No answer was graded by both.", "둘 다 채점한 답변이 없습니다."),
    "agreement.undefined": ("undefined (one label only)", "계산할 수 없음(판정이 한 가지뿐)"),
    "agreement.alpha": ("Krippendorff's alpha of {graders}: {alpha}.", "{graders}: Krippendorff's alpha {alpha}."),
    "agreement.differing": ("Answers on which graders differ: {count}", "채점이 엇갈린 답변: {count}개"),
    "agreement.differing.more": (
        "{count} more are in agreement.json.",
        "나머지 {count}개는 agreement.json에 있습니다.",
    ),
    "agreement.differing.next": ("{count} more", "{count}개 더"),
    "agreement.stale": (
        "agreement.json was made from other grades than this comparison: "
        "raglift compare and raglift agree make both anew.",
        "agreement.json은 이 비교와 다른 채점으로 만든 것입니다. "
        "raglift compare와 raglift agree로 둘 다 다시 만드세요.",
    ),
    "agreement.compared": ("compared arms", "대표 비교"),
    "corrected.title": ("The lift, corrected by people", "사람의 채점으로 보정한 향상 폭"),
    "corrected.before": ("as graded ({grader})", "채점 그대로 ({grader})"),
    "corrected.after": ("corrected", "보정"),
    "corrected.sentence": (
        "Corrected by people's verdicts on {labels} {labels:answer|answers}: {lift} points {interval}.",
        "사람이 채점한 답변 {labels}개로 보정하면: {lift}%p {interval}.",
    ),
    "corrected.none": ("No corrected lift: {reason}.", "보정한 향상 폭 없음: {reason}."),
    "corrected.labels": (
        "{labels} of {answers} {answers:answer|answers} graded by people (reviewers: {reviewers}).",
        "답변 {answers}개 중 {labels}개를 사람이 채점했습니다(채점자: {reviewers}).",
    ),
    "corrected.differ": (
        "People and grader differ on an estimated {share_a} of the answers of {a}, {share_b} of {b}.",
        "사람과 채점기가 엇갈리는 비율(추정): {a} {share_a}, {b} {share_b}.",
    ),
    "warning.few": (
        "the headline rests on '{grader}': '{a}' and '{b}' share {answers} graded answers, too few (under {fewest}) "
        "to tell how far it can be trusted",
        "대표 결과의 채점자는 '{grader}'입니다. '{a}', '{b}' 둘 다 채점한 답변이 {answers}개뿐이라({fewest}개 미만) "
        "얼마나 믿을 수 있는지 알 수 없습니다",
    ),
    "warning.low": (
        "the headline rests on '{grader}', but '{a}' and '{b}' agree poorly: kappa {kappa}, {agreed} % of {answers} "
        "answers (below {limit} no conclusion should rest on it)",
        "대표 결과의 채점자는 '{grader}'인데 '{a}', '{b}' 일치도가 낮습니다: kappa {kappa}, 답변 {answers}개 중 "
        "{agreed}% 일치 (kappa {limit} 미만이면 결론의 근거로 삼지 마세요)",
    ),
    "warning.low.headline": (
        "the headline rests on '{grader}', but '{a}' and '{b}' agree poorly: kappa {kappa}, {agreed} % of {answers} "
        "of the headline's answers (below {limit} no conclusion should rest on it)",
        "대표 결과의 채점자는 '{grader}'인데 '{a}', '{b}' 일치도가 낮습니다: kappa {kappa}, "
        "대표 비교의 답변 {answers}개 중 {agreed}% 일치 (kappa {limit} 미만이면 결론의 근거로 삼지 마세요)",
    ),
    "warning.mark": ("Warning", "주의"),
    "uncorrected.not drawn": (
        "what people graded was not drawn at random: raglift draw RUN_DIR draws one to grade",
        "사람이 채점한 답변이 무작위로 뽑은 것이 아님, raglift draw RUN_DIR로 표본을 뽑으세요",
    ),
    "uncorrected.grader": (
        "the sample was drawn by the verdicts of '{a}', the headline rests on '{b}': raglift draw RUN_DIR draws one to "
        "grade",
        "표본은 '{a}'의 판정으로 뽑았는데 대표 결과의 채점자는 '{b}', raglift draw RUN_DIR로 다시 뽑으세요",
    ),
    "uncorrected.strangers": (
        "{count} of the {drawn} drawn answers are not among this comparison's: raglift draw RUN_DIR draws one to grade",
        "뽑은 답변 {drawn}개 중 {count}개가 이 비교에 없음, raglift draw RUN_DIR로 다시 뽑으세요",
    ),
    "uncorrected.changed": (
        "the sample was drawn from {drawn} answers, this comparison has {answers}: raglift draw RUN_DIR draws one to "
        "grade",
        "표본은 답변 {drawn}개에서 뽑았는데 이 비교에는 {answers}개가 있음, raglift draw RUN_DIR로 다시 뽑으세요",
    ),
    "uncorrected.questions": ("fewer than 2 questions with scored answers", "채점된 답변이 있는 질문이 2개 미만"),
    "uncorrected.labels.correct": (
        "{labels} of {answers} answers judged correct by the grader in arm {arm} have a human verdict: label 2 or more",
        "조건 {arm}에서 채점기가 정답으로 본 답변 {answers}개 중 사람이 채점한 것이 {labels}개뿐(2개 이상 필요)",
    ),
    "uncorrected.labels.incorrect": (
        "{labels} of {answers} answers judged incorrect by the grader in arm {arm} have a human verdict: label 2 or "
        "more",
        "조건 {arm}에서 채점기가 오답으로 본 답변 {answers}개 중 사람이 채점한 것이 {labels}개뿐(2개 이상 필요)",
    ),
}
