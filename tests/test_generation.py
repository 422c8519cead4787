"""The fast decoding loop says what the library's `generate` says; noise belongs to the sample, not to the batch."""

from __future__ import annotations

import gc
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from raglift.config import AnswerConfig, Config
from raglift.models import generation
from raglift.models.generation import LocalModel, _Writer, choose_tokens, draw_noise, list_end_tokens
from raglift.models.loading import LoadedModel, is_out_of_memory, load_model

WORDS = [
    "재현율",
    "정밀도",
    "정확도",
    "비율",
    "모델",
    "찾아낸",
    "예측한",
    "전체",
    "중에서",
    "TP",
    "FN",
    "FP",
    "뭐야",
    "알려줘",
]


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def loaded(request: pytest.FixtureRequest, tiny_model: Path) -> LoadedModel:
    return load_model(Config(name="x", model=str(tiny_model), precision=request.param))


def make_prompts(count: int) -> list[str]:
    draws = np.random.default_rng(1)
    return [" ".join(draws.choice(WORDS, size=draws.integers(2, 14))) for _ in range(count)]


def test_greedy_tokens_equal_generate_on_60_prompts(loaded: LoadedModel) -> None:
    prompts = make_prompts(60)
    decoding = AnswerConfig(temperature=0, max_new_tokens=10)
    ours = LocalModel(loaded, "tiny").complete_prompts(prompts, [["noise"]] * len(prompts), decoding)
    ends = list_end_tokens(loaded)
    differing = 0
    for prompt, (completion,) in zip(prompts, ours, strict=True):
        ids = loaded.tokenizer(prompt, return_tensors="pt")
        full = loaded.model.generate(
            input_ids=ids.input_ids, attention_mask=ids.attention_mask, max_new_tokens=10, do_sample=False
        )[0]
        new = [token for token in full[ids.input_ids.shape[1] :].tolist() if token not in ends]
        differing += loaded.tokenizer.decode(new, skip_special_tokens=True).strip() != completion.text
    # In bf16 a padded batch rounds other sums than a single row does, and random weights have near ties.
    assert differing <= (0 if loaded.model.dtype == torch.float32 else 6)


def test_noise_is_the_samples_own_whatever_the_batch(tiny_model: Path) -> None:
    model = LocalModel(load_model(Config(name="x", model=str(tiny_model), precision="float32")), "tiny")
    decoding = AnswerConfig(temperature=1.0, max_new_tokens=10)
    prompts = make_prompts(6)
    noise = [[f"{i} {j}" for j in range(3)] for i in range(6)]
    together = model.complete_prompts(prompts, noise, decoding)
    alone = [model.complete_prompts([p], [n], decoding)[0] for p, n in zip(prompts, noise, strict=True)]
    backwards = model.complete_prompts(prompts[::-1], noise[::-1], decoding)[::-1]
    assert together == alone == backwards
    assert len({completion.text for group in together for completion in group}) > 6, "samples differ"


def test_samples_are_one_row_until_they_part(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = LocalModel(load_model(Config(name="x", model=str(tiny_model), precision="float32")), "tiny")
    decoding = AnswerConfig(temperature=0.02, max_new_tokens=12)
    prompts, noise = make_prompts(5), [[f"{i} {j}" for j in range(4)] for i in range(5)]
    alone = [
        [model.complete_prompts([prompt], [[name]], decoding)[0][0] for name in names]
        for prompt, names in zip(prompts, noise, strict=True)
    ]
    sizes, step = list[int](), generation._step

    def watch_step(model: Any, ids: torch.Tensor, *more: Any) -> torch.Tensor:
        sizes.append(len(ids))
        return step(model, ids, *more)

    written = defaultdict[int, list[int]](list)

    def watch_token(row: int, step: int, token: int) -> bool:
        written[row].append(token)
        return True

    monkeypatch.setattr(generation, "_step", watch_step)
    assert model.complete_prompts(prompts, noise, decoding, watch_token) == alone
    for length, size in enumerate(sizes):
        going = [row for row, tokens in written.items() if len(tokens) >= length]
        assert size == len({(row // 4, *written[row][:length]) for row in going}), "a row for each start that differs"
    assert 5 == sizes[0] < sizes[1] < sizes[-1], "some part"


def test_the_collector_passes_over_what_lives_as_long_as_the_process(loaded: LoadedModel) -> None:
    assert gc.get_freeze_count() > 100_000, "modules of torch and transformers, looked at after every batch else"


def test_what_the_allocator_says_is_understood() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    assert is_out_of_memory(caught.value) and not is_out_of_memory(RuntimeError("shapes differ"))
    assert is_out_of_memory(RuntimeError("could not create a primitive"))


def test_out_of_memory_halves_the_batch_and_changes_no_answer(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = LocalModel(load_model(Config(name="x", model=str(tiny_model), precision="float32")), "tiny")
    decoding = AnswerConfig(temperature=1.0, max_new_tokens=6)
    prompts, noise = make_prompts(7), [[f"{i}"] for i in range(7)]
    calm = model.complete_prompts(prompts, noise, decoding)
    whole = generation._complete_batch

    def limited(loaded: Any, some: Any, names: Any, settings: Any, *more: Any) -> Any:
        if len(some) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return whole(loaded, some, names, settings, *more)

    monkeypatch.setattr(generation, "_complete_batch", limited)
    assert model.complete_prompts(prompts, noise, decoding) == calm


def test_choice_follows_the_softmax_of_the_top_k() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, -9.0])
    decoding = AnswerConfig(temperature=0.5, top_k=3)
    uniform = torch.linspace(0, 1, 20_001, dtype=torch.float64)[:-1]
    chosen = choose_tokens(logits[None], torch.zeros(len(uniform), dtype=torch.long), uniform, decoding)
    shares = torch.bincount(chosen, minlength=5) / len(uniform)
    expected = torch.softmax(logits[:3] / 0.5, dim=0)
    assert torch.allclose(shares[:3].double(), expected.double(), atol=1e-3)
    assert shares[3:].sum() == 0


def test_noise_depends_on_its_name_alone() -> None:
    assert np.array_equal(draw_noise("a", 8), draw_noise("a", 16)[:8])
    assert not np.array_equal(draw_noise("a", 8), draw_noise("b", 8))
    many = np.concatenate([draw_noise(str(i), 50) for i in range(200)])
    assert abs(many.mean() - 0.5) < 0.01 and many.min() >= 0 and many.max() < 1


def test_line_rule_ends_answers_at_the_first_break_behind_text(tiny_model: Path) -> None:
    loaded = load_model(Config(name="x", model=str(tiny_model), precision="float32"))
    broken = loaded.tokenizer("\n").input_ids[-1]
    text = loaded.tokenizer("비율", add_special_tokens=False).input_ids
    writer = _Writer(loaded, 3, AnswerConfig(stop="line"), None)
    assert broken in writer.breaks
    for row, tokens in enumerate(
        ([broken, *text, broken, *text], [*text, *text], [broken, loaded.tokenizer.eos_token_id])
    ):
        for step, token in enumerate(tokens):
            if not writer.take([row], step, [token])[0]:
                break
    assert [c.text for c in writer.finish()] == ["비율", "비율비율", ""]
    assert [c.truncated for c in writer.finish()] == [False, True, False]
