"""The fast path gives what the library gives: LoRA layers, the loss, the cache, packed layers."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import DataCollatorWithFlattening, Gemma3ForCausalLM, Gemma3TextConfig

from raglift.config import Config, LoraConfig
from raglift.models import answer_loss, packing
from raglift.models.adapters import add_adapter
from raglift.models.answer_loss import AnswerHead, replace_head
from raglift.models.cache import RoomyLayer, place_children
from raglift.models.loading import LoadedModel, load_model
from raglift.models.lora import clear, draw_dropped, fuse_lora
from raglift.models.norms import find_scale, fuse_norms
from raglift.models.row_attention import ENDS, part_rows


@pytest.fixture
def loaded(tiny_model) -> LoadedModel:  # type: ignore[no-untyped-def]
    return load_model(Config(name="x", model=str(tiny_model), precision="float32"))


def give_content(model) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if "lora_B" in name:
                weights.normal_(0, 0.1)


def measure_gradients(model, ids: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:  # type: ignore[no-untyped-def]
    model.train()
    logits = model(input_ids=ids, use_cache=False).logits
    cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
    gradients = [weights.grad.clone() for weights in model.parameters() if weights.requires_grad]
    model.zero_grad()
    return logits.detach(), gradients


def test_fused_lora_has_the_librarys_output_and_gradients(loaded: LoadedModel) -> None:
    model = add_adapter(loaded, LoraConfig(rank=4, dropout=0.0), 0)
    give_content(model)
    ids = torch.randint(5, 300, (2, 17), generator=torch.Generator().manual_seed(0))
    plain = measure_gradients(model, ids)
    with fuse_lora(model):
        layer = model.get_base_model().model.layers[0].self_attn.q_proj
        assert "forward" in vars(layer), "the layer is fused"
        fused = measure_gradients(model, ids)
    assert "forward" not in vars(layer)
    torch.testing.assert_close(fused[0], plain[0], rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(fused[1], plain[1], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)


@pytest.fixture
def tiny_gemma():  # type: ignore[no-untyped-def]
    """Norms of 1 + weight, few heads for the keys, and a window shorter than the rows."""
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=300, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=1, head_dim=8, sliding_window=5, layer_types=["sliding_attention", "full_attention"],
    )  # fmt: skip
    model = Gemma3ForCausalLM(config)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if "norm" in name:
                weights.normal_(0, 0.5)
                weights.requires_grad_(False)
    return model


def test_fused_norms_have_the_librarys_output_and_gradients(loaded: LoadedModel, tiny_gemma) -> None:  # type: ignore[no-untyped-def]
    ids = torch.randint(5, 300, (2, 17), generator=torch.Generator().manual_seed(0))
    for model in (add_adapter(loaded, LoraConfig(rank=4, dropout=0.0), 0), tiny_gemma):
        plain = measure_gradients(model, ids)
        with fuse_norms(model):
            fused_norms = [name for name, part in model.named_modules() if "forward" in vars(part)]
            assert any("input_layernorm" in name for name in fused_norms)
            fused = measure_gradients(model, ids)
        assert not any("forward" in vars(part) for part in model.modules()), "put back"
        torch.testing.assert_close(fused[0], plain[0], rtol=1e-4, atol=1e-5)
        for ours, theirs in zip(fused[1], plain[1], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)


def test_a_large_weight_is_told_from_one_more(tiny_gemma) -> None:  # type: ignore[no-untyped-def]
    norm = tiny_gemma.model.norm
    with torch.no_grad():
        norm.weight.fill_(200.0)
    for precision in (torch.float32, torch.bfloat16):
        scale = find_scale(norm.to(precision))
        assert scale is not None and float(scale[0]) == 201.0


def test_a_norm_that_learns_or_computes_something_else_is_left_alone(tiny_gemma) -> None:  # type: ignore[no-untyped-def]
    norm = tiny_gemma.model.norm
    assert find_scale(norm) is not None
    norm.weight.requires_grad_(True)
    assert find_scale(norm) is None
    norm.weight.requires_grad_(False)
    norm.forward = lambda x: 2 * x
    assert find_scale(norm) is None


@pytest.mark.parametrize("lengths", [(9, 4, 12), (17,), (1, 8)])
def test_attention_within_rows_is_that_of_the_masked_square(tiny_gemma, lengths: tuple[int, ...]) -> None:  # type: ignore[no-untyped-def]
    generator = torch.Generator().manual_seed(0)
    rows = [{"input_ids": torch.randint(5, 300, (n,), generator=generator).tolist()} for n in lengths]
    joined = DataCollatorWithFlattening(return_flash_attn_kwargs=True)(rows)
    ids, positions = joined["input_ids"], joined["position_ids"]

    def measure(**ends: object) -> list[torch.Tensor]:
        logits = tiny_gemma(input_ids=ids, position_ids=positions, use_cache=False, **ends).logits
        logits.square().sum().backward()
        gradients = [weights.grad.clone() for weights in tiny_gemma.parameters() if weights.requires_grad]
        tiny_gemma.zero_grad()
        return [logits.detach(), *gradients]

    plain = measure()
    with part_rows(tiny_gemma, joined) as is_parted:
        assert is_parted
        parted = measure(**{name: joined[name] for name in ENDS})
    assert tiny_gemma.config._attn_implementation == "sdpa", "put back"
    for ours, theirs in zip(parted, plain, strict=True):
        assert (ours - theirs).norm() <= 1e-5 * theirs.norm()


def test_rows_stay_one_square_where_attention_is_something_else(tiny_gemma) -> None:  # type: ignore[no-untyped-def]
    rows = [{"input_ids": list(range(5, 20))}, {"input_ids": list(range(30, 42))}]
    joined = DataCollatorWithFlattening(return_flash_attn_kwargs=True)(rows)
    for layer in tiny_gemma.model.layers:
        layer.self_attn.sliding_window = None  # the mask knows of a window, the layer does not tell
    with part_rows(tiny_gemma, joined) as is_parted:
        assert not is_parted
        assert tiny_gemma.config._attn_implementation == "sdpa"


def test_fused_lora_drops_values_at_the_given_rate_and_keeps_the_mean(loaded: LoadedModel) -> None:
    torch.manual_seed(0)
    x = torch.ones(1000, 1000)
    dropped = 1 - clear(x, draw_dropped(x, 0.05))
    assert dropped.mean() == pytest.approx(0.05, abs=0.001)
    # Independent values: the rates of rows and of columns spread as a binomial's do.
    for dim in (0, 1):
        assert dropped.mean(dim=dim).std() == pytest.approx((0.05 * 0.95 / 1000) ** 0.5, rel=0.1)
    model = add_adapter(loaded, LoraConfig(rank=4, dropout=0.3), 0)
    give_content(model)
    layer = model.get_base_model().model.layers[0].self_attn.q_proj
    x = torch.randn(1, 3, 32)
    with torch.no_grad(), fuse_lora(model):
        expected = layer.eval()(x)
        layer.train()
        found = torch.stack([layer(x) for _ in range(4000)])
    spread = found.std(dim=0) / 4000**0.5
    assert (spread > 0).all(), "dropout is on"
    assert ((found.mean(dim=0) - expected).abs() < 5 * spread).all()


@pytest.mark.parametrize("room", [1 << 25, 40_000])
def test_loss_from_hidden_states_is_cross_entropy(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_loss, "ROOM", room)
    torch.manual_seed(0)
    weight, targets = torch.randn(9000, 24), torch.randint(0, 9000, (11,))
    hidden = torch.randn(11, 24, requires_grad=True)
    ours = AnswerHead(weight).sum_loss(hidden, targets)
    ours.backward()
    found = hidden.grad.clone()
    exact = hidden.detach().double().requires_grad_()
    expected = cross_entropy(exact @ weight.double().T, targets, reduction="sum")
    expected.backward()
    assert ours.item() == pytest.approx(expected.item(), rel=1e-5)
    assert (found - exact.grad).norm() / exact.grad.norm() < 1e-4


def test_head_is_put_back_and_left_alone_where_logits_are_capped(loaded: LoadedModel) -> None:
    loaded.model.requires_grad_(False)
    ids = torch.tensor([[5, 6, 7]])
    plain = loaded.model.get_output_embeddings()
    with replace_head(loaded.model, ids) as head:
        assert head is not None
        assert loaded.model(input_ids=ids).logits.shape[-1] == 32, "hidden states"
    assert loaded.model.get_output_embeddings() is plain
    capped = copy.deepcopy(loaded.model)
    original = capped.forward

    def forward(**inputs):  # type: ignore[no-untyped-def]
        output = original(**inputs)
        output.logits = torch.tanh(output.logits * 30)
        return output

    capped.forward = forward
    with replace_head(capped, ids) as head:
        assert head is None
        assert capped(input_ids=ids).logits.shape[-1] > 32


@pytest.mark.parametrize("parents", [[0, 2, 5], [0, 0, 1, 1, 1, 5, 5], [3], [4, 4, 4, 4, 4, 4, 4], [0, 1, 2, 3, 4, 5]])
def test_rows_part_and_close_the_gaps(parents: list[int]) -> None:
    layer = RoomyLayer(room=3)
    prompt = torch.arange(6.0)[:, None, None, None].expand(6, 1, 4, 5).clone()
    layer.update(prompt, -prompt)
    layer.reserve(7)
    step = 10 * prompt[:, :, :1]
    keys, values = layer.update(step, -step)
    assert keys.shape == (6, 1, 5, 5)
    places, moved = place_children(torch.tensor(parents))
    assert sorted(places.tolist()) == list(range(len(parents))), "no gap"
    assert int(moved.sum()) == len(parents) - len({row for row in parents if row < len(parents)}), "none without need"
    layer.copy_rows(torch.tensor(parents)[moved], places[moved], len(parents))
    own = torch.arange(100.0, 100 + len(parents))[:, None, None, None].expand(-1, 1, 1, 5)
    keys, values = layer.update(own[places.argsort()], -own[places.argsort()])
    for child, (parent, place) in enumerate(zip(parents, places.tolist(), strict=True)):
        assert keys[place, 0, :, 0].tolist() == [parent] * 4 + [10 * parent, 100 + child], "its parent's past, its own"
    assert torch.equal(keys, -values)
    assert layer.get_seq_length() == 6


def test_packed_copy_shares_the_rest_and_gives_the_same_logits(loaded: LoadedModel) -> None:
    if not packing.can_pack(torch.eye(2)):
        pytest.skip("oneDNN is not in this build of torch")
    packed = packing.pack_copy(loaded.model)
    ids = torch.tensor([[5, 6, 7, 8]])
    torch.testing.assert_close(packed(input_ids=ids).logits, loaded.model(input_ids=ids).logits, rtol=1e-4, atol=1e-5)
    assert packed.get_input_embeddings().weight is loaded.model.get_input_embeddings().weight
    assert not any(type(layer) is torch.nn.Linear for layer in packed.modules())
    assert type(loaded.model.get_output_embeddings()) is torch.nn.Linear, "the original is as it was"
