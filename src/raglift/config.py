"""`experiment.yaml` and `--set key=value` into one validated `Config`; every default is written here, once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args, get_origin

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from raglift.errors import InputError, suggest_name
from raglift.records import Arm, parse_arm

DEFAULT_ARMS = (
    "base.none",
    "base.oracle",
    "sft.none",
    "sft.oracle",
    "rag-sft.none",
    "rag-sft.oracle",
    "rag-sft.retrieved",
    "sft.retrieved",
)
REMOTE_PREFIX = "openai:"
# A model on a server has no weights to train: its arms and headline where the experiment names none.
REMOTE_ARMS = ("base.none", "base.oracle", "base.retrieved")
REMOTE_HEADLINE = {"a": "base.none", "b": "base.oracle"}
ALL_ARMS = tuple(
    f"{tuning}.{context}"
    for tuning in ("base", "sft", "rag-sft")
    for context in ("none", "oracle", "retrieved", "distractor", "counterfactual", "irrelevant")
)


class Section(BaseModel):
    """A part of the config: unknown keys are errors, values do not change after reading.

    The text below a field is its row in docs/settings.md.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class PromptConfig(Section):
    """How a prompt is put together; the defaults are the founding experiment's."""

    template: Literal["founding", "chat", "custom"] = "founding"
    """The founding form, the model's chat template or the text in `custom`."""
    custom: str | None = None
    """Jinja2 text; `prompt.file`, a file beside `experiment.yaml` that holds it, is read into it."""
    with_passage: str = "(제공된 정보) {passage} (사용자 질문) {question}"
    without_passage: str = "{question}"
    answer_mark: str = "\n### 답변:"
    """What stands between question and answer in the founding form."""
    not_found: str = "알맞은 정보를 찾을 수 없음"
    """Stands where the passage would, when nothing was found."""
    passage_separator: str = "\n"
    """Between passages, where a prompt has several."""


class LoraConfig(Section):
    """The adapter (LoRA), with the founding experiment's settings."""

    rank: int = Field(64, ge=1)
    alpha: float = Field(16, gt=0)
    dropout: float = Field(0.05, ge=0, lt=1)
    init: Literal["gaussian", "default"] = "gaussian"
    """How the adapter begins: PEFT's `gaussian`, or its default."""
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    """The model's layers that get an adapter."""


class TrainConfig(Section):
    """The training, with the founding experiment's settings."""

    learning_rate: float = Field(3e-4, gt=0)
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup_steps: int = Field(0, ge=0)
    batch_size: int = Field(2, ge=1)
    accumulation: int = Field(1, ge=1)
    """Batches to a step of the optimizer."""
    epochs: int = Field(20, ge=1)
    weight_decay: float = Field(0.0, ge=0)
    max_gradient_norm: float = Field(1.0, gt=0)
    log_every: int = Field(5, ge=1)
    """Steps between two losses in the training log."""
    context: Literal["oracle", "retrieved", "mix"] = "oracle"
    """What `rag-sft` is trained with: the right passage, what the search finds, or RAFT's mix of both."""
    mix_oracle_share: float = Field(0.8, ge=0, le=1)
    """Of the mix: rows that hold the right passage among the wrong ones."""
    mix_distractors: int = Field(4, ge=0)
    """Of the mix: wrong passages in each row."""


class AnswerConfig(Section):
    """Decoding, the same in every arm."""

    samples: int = Field(4, ge=1)
    """Answers to each question."""
    temperature: float = Field(0.6, ge=0)
    """0 always takes the likeliest token."""
    top_k: int = Field(50, ge=1)
    max_new_tokens: int = Field(64, ge=1)
    stop: Literal["auto", "line", "token"] = "auto"
    """Where an answer ends besides its end token, which an untuned model never writes: `line` ends every arm's
    answers at their first line break, `auto` does so where no training answer has one.
    """
    questions_per_batch: int = Field(32, ge=1)
    distractors: int = Field(4, ge=1)
    """Wrong passages beside the right one in the context `distractor`."""


class RetrievalConfig(Section):
    """The search that the `retrieved` context uses."""

    embedder: str = "e5-small"
    """`e5-small` (it comes with the package), or a sentence-transformers id or path."""
    index: str | None = Field(None, pattern=r"^[a-z][a-z0-9+]*://\S+$")
    """Where the index lies: an address such as `s3://bucket/path`, or none for the run folder."""
    search: Literal["dense", "lexical", "hybrid", "hybrid-rrf", "hybrid-linear"] = "hybrid"
    """`hybrid` adds named passages to the cosine; the last two are LanceDB's own fusions of vectors and BM25."""
    k: int = Field(1, ge=1)
    """Passages in a prompt."""
    threshold: Literal["auto"] | float | None = "auto"
    """Below this score nothing is found: a number, null (never), or `auto`, chosen on the training questions."""
    weight: float = Field(0.2, ge=0, le=1)
    """A tenth of it is what `hybrid` adds to the cosine of a passage that the question names in full."""
    tuned: bool = True
    """Use what `raglift tune-retriever` kept."""


class CompareConfig(Section):
    """The headline, fixed before the run."""

    a: str = "sft.none"
    b: str = "rag-sft.oracle"
    split: Literal["seen", "unseen", "absent", "all"] = "seen"
    margin: float = Field(5.0, gt=0, lt=100)
    """Points of lift within which two arms count as equivalent."""


class ServerConfig(Section):
    """How a model on an OpenAI-compatible server is called; limits and prices hold for a run folder as a whole."""

    api_key_env: str = Field("OPENAI_API_KEY", pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$")
    """The environment variable that holds the key, `''` for none."""
    timeout: float = Field(60.0, gt=0)
    """Seconds for a whole reply."""
    concurrency: int = Field(4, ge=1, le=64)
    """Calls at a time, to each server."""
    attempts: int = Field(4, ge=1)
    """Calls for one reply."""
    first_wait: float = Field(1.0, ge=0)
    """Seconds before the second attempt; each further wait is twice as long."""
    max_calls: int = Field(10_000, ge=1)
    """Limit for the run folder, as the other two `max_…`."""
    max_tokens: int | None = Field(None, ge=1)
    input_price: float = Field(0.0, ge=0)
    """Of a million tokens, in whatever currency `max_cost` is in."""
    output_price: float = Field(0.0, ge=0)
    """Of a million tokens."""
    max_cost: float | None = Field(None, gt=0)
    """Needs prices."""

    @model_validator(mode="after")
    def _require_prices(self) -> Self:
        if self.max_cost is not None and not self.input_price and not self.output_price:
            raise ValueError("max_cost needs input_price and output_price, or nothing is ever counted")
        return self


class JudgeConfig(ServerConfig):
    """A language model that grades, on any OpenAI-compatible server."""

    url: str = Field("", pattern=r"^(https?://\S+)?$")
    """The server's address up to `/v1`."""
    model: str = ""
    """The name that the server lists."""
    votes: int = Field(3, ge=1)
    """Replies for each different answer; a verdict needs more than half of them."""
    reply_format: Literal["json_schema", "json_object", "text"] = "json_schema"
    reply_tokens: int = Field(300, ge=16)
    """Longest reply."""


class RemoteConfig(ServerConfig):
    """How `model: openai:NAME@URL` is asked."""

    api: Literal["chat", "completions"] = "chat"
    """The prompt as the user's message, or continued as it stands."""
    seeds: bool = True
    """A seed with each request."""
    revision: str = ""
    """Set it anew when the server's model under this name has changed: its answers are then made again."""
    extra: dict[str, Any] = {}
    """More fields of the request, for servers that take them: `{top_k: 50}`. They are written down: no keys here."""


class ReportConfig(Section):
    """What the report looks like."""

    language: Literal["ko", "en"] = "en"


def _split_names(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _join_names(value: Any) -> Any:
    return ",".join(value) if isinstance(value, list) and all(isinstance(part, str) for part in value) else value


def _is_remote(model: Any) -> bool:
    return str(_join_names(model)).startswith(REMOTE_PREFIX)


class Config(Section):
    """All settings of an experiment."""

    name: str = Field(pattern=r"^[A-Za-z0-9가-힣][A-Za-z0-9가-힣._-]*$")
    """The folder's name, unless it is set."""
    model: Annotated[str, BeforeValidator(_join_names)] = "gemma3-270m"
    """`gemma3-270m` (it comes with the package), a Hugging Face id, a folder, or `openai:NAME@URL`."""
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    """`auto`: bfloat16 where the processor multiplies it in hardware."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    trust_remote_code: Literal[False] = False
    """No code that comes with a model is ever run."""
    arms: Annotated[tuple[str, ...], BeforeValidator(_split_names)] = DEFAULT_ARMS
    """`tuning.context`, several with commas between, or `all`."""
    seed: int = Field(0, ge=0)
    """The first training seed; an answer's noise is drawn from its seed, question and number."""
    seeds: int = Field(1, ge=1)
    """Trainings of each tuning, each with its own seed."""
    grader: Literal["rubric", "judge", "human"] = "rubric"
    """Whose verdicts the headline is made from."""
    prompt: PromptConfig = PromptConfig()
    lora: LoraConfig = LoraConfig()
    train: TrainConfig = TrainConfig()
    answer: AnswerConfig = AnswerConfig()
    retrieval: RetrievalConfig = RetrievalConfig()
    compare: CompareConfig = CompareConfig()
    judge: JudgeConfig = JudgeConfig()
    remote: RemoteConfig = RemoteConfig()
    report: ReportConfig = ReportConfig()

    @model_validator(mode="before")
    @classmethod
    def _expand_all_arms(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("arms") in ("all", ["all"], ("all",)):
            remote = _is_remote(values.get("model"))
            values = {**values, "arms": tuple(arm for arm in ALL_ARMS if not remote or arm.startswith("base."))}
        return values

    @model_validator(mode="before")
    @classmethod
    def _choose_remote_arms(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not _is_remote(values.get("model")):
            return values
        compare = values.get("compare", {})
        if isinstance(compare, dict):
            values = {**values, "compare": {**REMOTE_HEADLINE, **compare}}
        return {"arms": REMOTE_ARMS, **values}

    @property
    def is_remote(self) -> bool:
        """Whether the model answers on a server: it has no weights here."""
        return _is_remote(self.model)

    def list_arms(self) -> list[Arm]:
        """The arms in their order of answering, without repeats."""
        return [parse_arm(name) for name in dict.fromkeys(self.arms)]

    def list_seeds(self) -> list[int]:
        """The training seeds."""
        return [self.seed + offset for offset in range(self.seeds)]


def load_config(file: Path, overrides: Sequence[str] = (), **options: Any) -> Config:
    """Read a YAML file, lay `key=value` overrides over it and validate; the default name is the folder's.

    Args:
        file: `experiment.yaml`.
        overrides: `section.key=value` texts as given to `--set`; values are YAML.
        options: top-level values that the command line sets (None means not given).
    """
    values = read_yaml(file)
    values.setdefault(
        "name", re.sub(r"[^A-Za-z0-9가-힣._-]+", "-", file.absolute().parent.name).strip("-._") or "experiment"
    )
    for override in overrides:
        _apply_override(values, override)
    values.update({key: value for key, value in options.items() if value is not None})
    _read_template(values, file.parent)
    config = validate_config(values, str(file))
    for arm in (*config.arms, config.compare.a, config.compare.b):
        parse_arm(arm)
    if config.grader == "judge":
        require_judge(config)
    return config


def require_judge(config: Config) -> JudgeConfig:
    """The judge's settings; InputError where its server or model is not named."""
    for key, example in (("url", "http://localhost:8000/v1"), ("model", "the name that the server lists")):
        if not getattr(config.judge, key):
            raise InputError(
                f"judge.{key}", "not set", f"for example {example}", f"--set judge.{key}=… or in experiment.yaml"
            )
    return config.judge


def override_section(config: Config, section: str, overrides: Sequence[str]) -> Config:
    """The config with `section.key=value` texts laid over it; InputError for keys of other sections."""
    values = config.model_dump(mode="json")
    for override in overrides:
        if not override.strip().startswith(f"{section}."):
            raise InputError(f"--set {override}", "a setting that this run has fixed", f"a key of '{section}'")
        _apply_override(values, override)
    return validate_config(values, "--set")


class PlainLoader(yaml.SafeLoader):
    """Safe YAML without aliases: a few lines of them can stand for more values than memory holds."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias (*name); write its value out")
        return super().compose_node(parent, index)


def parse_yaml(text: str, where: str) -> Any:
    """The value of a YAML text; InputError for what is none."""
    try:
        return yaml.load(text, Loader=PlainLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error) or "not YAML"
        raise InputError(f"{where}:{mark.line + 1}" if mark else where, str(problem), "key: value lines") from None
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError) as error:
        # The library's own constructors raise these for dates, numbers and keys that cannot be.
        raise InputError(where, f"no value of YAML ({type(error).__name__}: {error})", "key: value lines") from None


def read_yaml(file: Path) -> dict[str, Any]:
    """A YAML mapping; InputError for anything else."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(str(file), "no such file", "an experiment.yaml", "raglift init DIR makes one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(str(file), f"cannot be read ({error})", "a UTF-8 YAML file") from None
    values = parse_yaml(text, str(file))
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InputError(str(file), f"a {type(values).__name__}", "key: value lines (a mapping)")
    return values


def validate_config(values: dict[str, Any], where: str) -> Config:
    """Validate a mapping; the first problem becomes an InputError that names its key."""
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        path = [str(part) for part in problem["loc"]]
        key = ".".join(path)
        if problem["type"] == "extra_forbidden":
            known = _known_keys(path[:-1])
            raise InputError(
                f"{where}: {key}", "unknown key", "a key of raglift's config", suggest_name(path[-1], known)
            ) from None
        raise InputError(f"{where}: {key}", repr(problem["input"])[:120], problem["msg"]) from None


def takes_several(key: str) -> bool:
    """Whether a comma is part of a key's value: it holds a list or a text, or is unknown."""
    *sections, last = key.split(".")
    section: Any = Config
    for part in sections:
        field = getattr(section, "model_fields", {}).get(part)
        if field is None:
            return True
        section = field.annotation
    field = getattr(section, "model_fields", {}).get(last)
    if field is None:
        return True
    kinds = {field.annotation, *get_args(field.annotation)}
    return str in kinds or any(get_origin(kind) in (tuple, list, dict) for kind in kinds)


def _known_keys(path: Sequence[str]) -> list[str]:
    section: Any = Config
    for part in path:
        section = section.model_fields[part].annotation
    return list(section.model_fields)


def _read_template(values: dict[str, Any], folder: Path) -> None:
    """Put the content of `prompt.file` into `prompt.custom`: what a run depends on is the text, not where it lies."""
    prompt = values.get("prompt")
    if not isinstance(prompt, dict) or "file" not in prompt:
        return
    prompt = values["prompt"] = dict(prompt)
    file = folder / str(prompt.pop("file"))
    try:
        if not file.resolve().is_relative_to(folder.resolve()):  # what it holds goes into prompts, and so to servers
            raise InputError(f"prompt.file: {file}", "a file outside the folder", "a template beside experiment.yaml")
        prompt["custom"] = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, or a NUL in the name
        raise InputError(
            f"prompt.file: {file}", f"cannot be read ({error})", "a UTF-8 file with a Jinja2 template"
        ) from None
    prompt.setdefault("template", "custom")


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise InputError(f"--set {override}", "no key=value", "for example --set train.epochs=5")
    *sections, last = key.strip().split(".")
    place = values
    for section in sections:
        inner = place.setdefault(section, {})
        if not isinstance(inner, dict):
            raise InputError(f"--set {override}", f"'{section}' is no section", "section.key=value")
        place = inner
    try:
        place[last] = parse_yaml(text, f"--set {key}")
    except InputError:
        place[last] = text
