"""The `check` stage: what would spoil a run, found before hours are spent on it; it writes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from raglift.config import REMOTE_ARMS, REMOTE_HEADLINE, Config
from raglift.errors import InputError
from raglift.grading.draft import RubricFault, lint_rubrics
from raglift.grading.rubric import RubricGrader, check_rubric, title_of
from raglift.models.remote import parse_remote
from raglift.prompts import PromptWriter
from raglift.records import Arm, Experiment, Question, Rubric


def check_experiment(experiment: Experiment, config: Config) -> None:
    """Everything that can be checked without a model; InputError for the first problem."""
    check_settings(experiment, config)
    check_rubrics(experiment)


def check_settings(experiment: Experiment, config: Config) -> None:
    """Arms and prompts; InputError for the first problem."""
    check_arms(experiment, config)
    if config.prompt.template != "chat":  # the chat template is the tokenizer's
        check_template(PromptWriter(config.prompt))


def check_arms(experiment: Experiment, config: Config) -> None:
    """Each arm must find questions it can be asked, the headline's arms must be run and have questions.

    InputError otherwise.
    """
    arms = config.list_arms()
    if config.is_remote:
        check_remote(config)
    counts = Counter(question.split for question in experiment.questions)
    for name in (config.compare.a, config.compare.b):
        if name not in {str(arm) for arm in arms}:
            raise InputError(
                f"compare: {name}",
                "not among the arms of this run",
                "a headline between two arms that are run",
                f"add {name} to arms, or set compare.a and compare.b",
            )
    split = config.compare.split
    if split != "all" and not counts[split]:
        raise InputError(
            f"compare.split: {split}",
            f"no questions in this split (there are {dict(counts)})",
            "a split with questions",
            "set compare.split or add questions to questions.jsonl",
        )
    for arm in arms:
        check_arm_has_questions(arm, experiment)


def check_remote(config: Config) -> None:
    """InputError for an address that is none, and for arms that need weights."""
    remote = parse_remote(config.model)
    if config.prompt.template == "chat" and config.remote.api != "chat":
        raise InputError("remote.api", config.remote.api, "chat", "prompt.template: chat is the server's to fill in")
    tuned = [arm for arm in (*config.arms, config.compare.a, config.compare.b) if not arm.startswith("base.")]
    if tuned:
        headline = f"--set compare.a={REMOTE_HEADLINE['a']} --set compare.b={REMOTE_HEADLINE['b']}"
        raise InputError(
            f"arm '{tuned[0]}'",
            f"it needs weights to train, and model '{remote.name}' answers on a server",
            "arms of the tuning 'base'",
            f"--arms {','.join(REMOTE_ARMS)} {headline}, or a model that is loaded here",
        )


def check_arm_has_questions(arm: Arm, experiment: Experiment) -> None:
    """InputError when no question can be asked in the arm."""
    if arm.context == "counterfactual" and not any(q.counterfactual for q in experiment.questions):
        raise InputError(
            f"arm '{arm}'",
            "no question has a counterfactual passage",
            "at least one `counterfactual` in questions.jsonl",
            "add some, or leave the arm out",
        )
    if arm.context in ("oracle", "distractor") and all(q.split == "absent" for q in experiment.questions):
        raise InputError(f"arm '{arm}'", "no question has a passage that answers it", "seen or unseen questions")
    if arm.context in ("distractor", "irrelevant") and len(experiment.passages) < 2:
        raise InputError(f"arm '{arm}'", "a single passage in the knowledge base", "at least two passages")


def check_rubrics(experiment: Experiment) -> None:
    """InputError for the first rubric that disagrees with its own examples."""
    grader = RubricGrader(experiment.passages)
    for question in experiment.questions:
        for name, rubric in list_rubrics(question):
            problems = check_rubric(rubric, question.question, find_title(experiment, question), grader.table)
            if problems:
                raise InputError(
                    f"{experiment.folder}/questions.jsonl: question '{question.id}': {name}",
                    problems[0],
                    "a rubric that agrees with its own pass and fail examples",
                    "mend the pattern or the example; docs/rubrics.md has the language",
                )


def lint_experiment(experiment: Experiment, *, thorough: bool = False) -> list[RubricFault]:
    """The warnings of the rubrics' lint (none unless thorough); InputError for the first error."""
    faults = lint_rubrics(experiment.questions, experiment.passages, thorough=thorough)
    for fault in faults:
        if fault.severity == "error":
            raise InputError(
                f"{experiment.folder}/questions.jsonl: question '{fault.question_id}': {fault.rubric}",
                fault.text,
                "a rubric that accepts its reference and refuses what contradicts it",
                "raglift grade --explain shows what matches; docs/rubrics.md has the language",
            )
    return faults


def list_rubrics(question: Question) -> list[tuple[str, Rubric]]:
    """The rubrics of a question with their names in the file."""
    rubrics = [("rubric", question.rubric)]
    if question.counterfactual is not None:
        rubrics.append(("counterfactual.rubric", question.counterfactual.rubric))
    return rubrics


def find_title(experiment: Experiment, question: Question) -> str:
    """The title of the question's passage, '' without one."""
    return "" if question.passage_id is None else title_of(experiment.passage_by_id[question.passage_id].text)


def check_template(prompts: PromptWriter) -> None:
    """InputError unless question and passage are in the prompt where they are given."""
    question, passage = "raglift-question", "raglift-passage"
    for given, passages, wanted in (
        ("a question alone", None, [question]),
        ("a question and a passage", [passage], [question, passage]),
        ("a search that found nothing", [], [question]),
    ):
        prompt = prompts.write_prompt(question, passages)
        missing = [text for text in wanted if text not in prompt]
        if missing:
            raise InputError(
                f"prompt.template: {prompts.settings.template}",
                f"given {given}, {missing[0]!r} is not in the prompt {prompt[:120]!r}",
                "a prompt that holds the question, and the passage where there is one",
                "mend prompt.with_passage, prompt.without_passage or prompt.custom",
            )


def check_tokenizer(prompts: PromptWriter, window: int, config: Config, experiment: Experiment) -> None:
    """The template holds what it is given, prompt and end token survive the tokenizer, the longest prompt fits.

    InputError for the first that does not.

    Args:
        prompts: the run's template over the model's tokenizer.
        window: tokens that the model can see at once.
    """
    check_template(prompts)
    tokenizer = prompts.tokenizer
    longest, where = 0, ""
    for question in experiment.questions:
        texts = [question.counterfactual.text] if question.counterfactual else []
        if question.passage_id is not None:
            texts.append(experiment.passage_by_id[question.passage_id].text)
        prompt = prompts.write_prompt(question.question, [max(texts, key=len)] if texts else [])
        ids = tokenizer(prompt).input_ids
        check_round_trip(tokenizer, prompt, ids, question.id)
        if len(ids) > longest:
            longest, where = len(ids), question.id
    for example in experiment.examples:
        answer = prompts.write_answer(example.answer)
        ids = tokenizer(answer, add_special_tokens=False).input_ids
        check_round_trip(tokenizer, answer, ids, f"the training answer to '{example.question}'")
    needed = longest + config.answer.max_new_tokens
    if needed > window:
        raise InputError(
            f"question '{where}'",
            f"its prompt and answer need {needed} tokens",
            f"at most {window}, the model's window",
            "shorten the passage, lower answer.max_new_tokens or choose another model",
        )
    check_end_token(tokenizer)


def check_round_trip(tokenizer: Any, text: str, ids: Sequence[int], name: str) -> None:
    """InputError when a text does not come back out of the tokenizer: the model would learn another text.

    The begin token in front is the tokenizer's; a second one, or an end token behind a prompt, is a fault.
    """
    begins = bool(ids) and ids[0] == tokenizer.bos_token_id and not text.startswith(str(tokenizer.bos_token))
    back = "".join(tokenizer.decode(ids[1:] if begins else ids, skip_special_tokens=False).split())
    went_in = "".join(text.split())
    if back != went_in:
        same = next((n for n, (a, b) in enumerate(zip(back, went_in, strict=False)) if a != b), len(went_in))
        place = max(0, min(same, len(back)) - 20)
        raise InputError(
            f"prompt of {name}",
            f"the tokenizer gives back {back[place : place + 80]!r}",
            f"the text that went in, {went_in[place : place + 80]!r}",
            "choose a model whose tokenizer knows these letters",
        )


def check_end_token(tokenizer: Any) -> None:
    """InputError when the end token's text does not become that one token: answers would never end."""
    end = tokenizer.eos_token_id
    if end is None or tokenizer(tokenizer.eos_token, add_special_tokens=False).input_ids != [end]:
        raise InputError("tokenizer", "its end token does not survive as one token", "a tokenizer with an end token")
