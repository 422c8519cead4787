"""The library's trainer on rows of answers: rows as token ids, batches of them, the loss on the answers only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.data_loader import BatchSamplerShard
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader
from transformers import DataCollatorWithFlattening, PrinterCallback, Trainer, TrainingArguments

from raglift.models.answer_loss import AnswerHead, is_same, replace_head
from raglift.models.loading import LoadedModel
from raglift.models.lora import fuse_lora
from raglift.models.norms import fuse_norms
from raglift.models.row_attention import ENDS, part_rows
from raglift.prompts import TrainingRow

IGNORED = -100  # the label that cross-entropy leaves out


def encode_row(loaded: LoadedModel, row: TrainingRow) -> dict[str, list[int]]:
    """Token ids and labels of one row: the prompt ignored, the answer and the end token learned."""
    prompts = loaded.prompts
    before = loaded.tokenizer(prompts.write_prompt(row.question, row.passages)).input_ids
    after = loaded.tokenizer(prompts.write_answer(row.answer), add_special_tokens=False).input_ids
    after = [*after, prompts.end_token]
    return {"input_ids": before + after, "labels": [IGNORED] * len(before) + after}


class PaddingCollator:
    """Pads rows on the left to the longest of the batch: for models that cannot read them one behind the other."""

    def __init__(self, pad_token: int) -> None:
        self.pad_token = pad_token

    def __call__(self, rows: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        def pad(columns: list[list[int]], value: int) -> torch.Tensor:
            tensors = [torch.tensor(column) for column in columns]
            return pad_sequence(tensors, batch_first=True, padding_value=value, padding_side="left")

        mask = pad([[1] * len(row["input_ids"]) for row in rows], 0)
        return {
            "input_ids": pad([row["input_ids"] for row in rows], self.pad_token),
            "labels": pad([row["labels"] for row in rows], IGNORED),
            "attention_mask": mask,
            "position_ids": (mask.cumsum(dim=1) - 1).clamp(min=0),
        }


def choose_collator(model: Any, rows: Sequence[dict[str, list[int]]], pad_token: int) -> Any:
    """The library's collator that lays rows end to end, where the model keeps them apart; else padding.

    Attention that only looks at positions keeps them apart; a recurrent layer or an old mask does not.
    """
    flatten = DataCollatorWithFlattening()
    pair = choose_pair(rows)
    length = len(pair[1]["input_ids"])
    alone, joined = flatten(pair[1:]), flatten(pair)
    was_training = model.training
    model.eval()
    with torch.no_grad():
        expected, found = (
            model(input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False).logits[0, -length:]
            for batch in (alone, joined)
        )
    model.train(was_training)
    return flatten if is_same(found, expected) else PaddingCollator(pad_token)


def choose_pair(rows: Sequence[dict[str, list[int]]]) -> list[dict[str, list[int]]]:
    """The first row and the longest, on which two ways of computing a batch are compared."""
    longest = max(rows, key=lambda row: len(row["input_ids"]))
    return [{"input_ids": row["input_ids"], "labels": row["labels"]} for row in (rows[0], longest)]


@dataclass(frozen=True)
class ShareCollator:
    """Collates this process's share of a batch's rows, or one row with nothing to learn where that is none."""

    collate: Callable[[Sequence[dict[str, list[int]]]], dict[str, torch.Tensor]]
    process: int = 0
    processes: int = 1

    def __call__(self, rows: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        unlearned = {**rows[0], "labels": [IGNORED] * len(rows[0]["labels"])}
        return self.collate(rows[self.process :: self.processes] or [unlearned])


class AnswerTrainer(Trainer):
    """The library's trainer with the loss computed from the answers' columns alone.

    The loss is the same number: prompt positions carry no loss, so their logits are never needed. With a `head`
    the model hands on hidden states in place of logits.
    """

    def __init__(self, *, head: AnswerHead | None, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.head = head

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches whole and in the order of a single process, of which the collator keeps this process's share.

        Shared out by the library, the last batch would be filled up with rows that were learned already.
        """
        loader: DataLoader[Any] = super().get_train_dataloader()
        shard = loader.batch_sampler
        if isinstance(shard, BatchSamplerShard):
            shard.num_processes, shard.process_index, shard.even_batches = 1, 0, False
        return loader

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        labels = inputs["labels"]
        columns = (labels != IGNORED).any(dim=0).nonzero().squeeze(1)
        targets = labels[:, columns]
        output = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs.get("attention_mask"),
            position_ids=inputs["position_ids"],
            use_cache=False,
            logits_to_keep=columns - 1,  # what predicts a token stands one place before it
            **{name: inputs[name] for name in ENDS if name in inputs},
        )
        learned = targets != IGNORED
        if not learned.any():
            total = output.logits.sum() * 0
        elif self.head is None:
            total = cross_entropy(output.logits[learned].float(), targets[learned], reduction="sum")
        else:
            total = self.head.sum_loss(output.logits[learned], targets[learned])
        loss = total / (num_items_in_batch if num_items_in_batch is not None else learned.sum())
        loss = loss * self.args.world_size  # divided by the tokens of all processes, whose gradients are averaged
        return (loss, output) if return_outputs else loss


@contextmanager
def open_trainer(
    model: Any, rows: Sequence[dict[str, list[int]]], pad_token: int, arguments: TrainingArguments
) -> Iterator[AnswerTrainer]:
    """A trainer of a model with an adapter on encoded rows; the model is changed for speed while it is open."""
    base = model.get_base_model()
    probe = torch.tensor([rows[0]["input_ids"]], device=model.device)
    with ExitStack() as changes:
        head = changes.enter_context(replace_head(base, probe))
        changes.enter_context(fuse_lora(model))
        changes.enter_context(fuse_norms(model))
        # Asked with the head away: hidden states tell as much as logits, for less.
        collator = choose_collator(model, rows, pad_token)
        if isinstance(collator, DataCollatorWithFlattening):
            with_ends = DataCollatorWithFlattening(return_flash_attn_kwargs=True)
            if changes.enter_context(part_rows(base, with_ends(choose_pair(rows)))):
                collator = with_ends
        trainer = AnswerTrainer(
            model=model,
            head=head,
            args=arguments,
            train_dataset=rows,
            data_collator=ShareCollator(collator, arguments.process_index, arguments.world_size),
        )
        trainer.remove_callback(PrinterCallback)
        yield trainer
