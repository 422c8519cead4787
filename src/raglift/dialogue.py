"""`raglift ask` in a terminal: one question or a conversation, streamed, with its sources."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from raglift.ask import Asker, Prompted, Reply, Source
from raglift.errors import InputError, Interruption, RagliftError
from raglift.records import Arm

SIDE_BY_SIDE = 90  # columns from which two answers stand beside each other
EXCERPT = 160  # characters of a passage that are shown
HELP = """/arm NAME   ask another arm         /arms      list them
/compare    two arms side by side   /k N       passages a question
/quit       leave"""


@dataclass
class Dialogue:
    """What a conversation asks: the arm, whether a second one beside it, and passages a question."""

    asker: Asker
    arm: Arm
    compare: bool = False
    k: int | None = None

    def list_arms(self) -> tuple[Arm, ...]:
        return self.asker.choose_pair(self.arm) if self.compare else (self.arm,)

    def prepare(self, question: str) -> list[Prompted]:
        return [self.asker.prepare(question, arm, self.k) for arm in self.list_arms()]


def answer_as_json(dialogue: Dialogue, question: str) -> dict[str, Any]:
    """`{"question", "replies": [...]}`, one reply an arm."""
    replies = [dialogue.asker.ask(prompted) for prompted in dialogue.prepare(question)]
    return {"question": question, "replies": [describe_reply(reply) for reply in replies]}


def describe_reply(reply: Reply) -> dict[str, Any]:
    """A reply as JSON."""
    return {
        "arm": str(reply.prompted.arm),
        "context": reply.prompted.context,
        "text": reply.text,
        "sources": [asdict(source) for source in reply.prompted.sources],
        "notes": list(reply.prompted.notes),
        "tokens": reply.tokens,
        "truncated": reply.truncated,
        "key": reply.key,
    }


def answer_in_terminal(dialogue: Dialogue, question: str) -> None:
    """Stream the answer (or two) to standard output, its sources below."""
    prompted = dialogue.prepare(question)
    console = Console(highlight=False)
    if len(prompted) > 1 and console.is_terminal:
        _stream_panels(dialogue.asker, prompted, console)
        return
    for number, one in enumerate(prompted):
        if len(prompted) > 1:
            sys.stdout.write(("\n" if number else "") + f"[{one.arm}]\n")
        reply = dialogue.asker.ask(one, _write_piece)
        sys.stdout.write(" …\n" if reply.truncated else "\n")
        for line in list_details(one):
            console.print(Text(line, style="dim"), soft_wrap=True)


def prepare_conversation(dialogue: Dialogue) -> None:
    """Load the model, and open the index where it is searched, so that the first question waits for neither."""
    asker = dialogue.asker
    arms = dialogue.list_arms()
    asker.models.preload(list(dict.fromkeys(arm.tuning for arm in arms)), asker.seed)
    asker.open_search(arms)


def hold_conversation(dialogue: Dialogue) -> None:
    """Ask for questions until the input ends; a wrong one is explained and the conversation goes on."""
    show = Console(stderr=True, highlight=False)
    show.print(Text(f"asking {' and '.join(map(str, dialogue.list_arms()))}; /help lists commands, /quit leaves"))
    while True:
        try:
            line = input("\n> " if sys.stdin.isatty() else "").strip()
        except (EOFError, Interruption):  # Ctrl-D, Ctrl-C
            return
        try:
            if line in ("/quit", "/exit"):
                return
            if line.startswith("/"):
                show.print(Text(follow_command(dialogue, line)))
            elif line:
                answer_in_terminal(dialogue, line)
        except RagliftError as error:
            show.print(Text(f"error: {error}"))


def follow_command(dialogue: Dialogue, line: str) -> str:
    """Change what is asked; what the user is told."""
    name, _, value = line[1:].partition(" ")
    commands: dict[str, Callable[[Dialogue, str], None]] = {
        "arm": _set_arm, "compare": _toggle_comparison, "k": _set_passages
    }  # fmt: skip
    if name == "arms":
        return "\n".join(map(str, dialogue.asker.list_arms()))
    if name not in commands:
        return HELP
    commands[name](dialogue, value.strip())
    passages = dialogue.k or dialogue.asker.config.retrieval.k
    return f"asking {' and '.join(map(str, dialogue.list_arms()))}, passages: {passages}"


def list_details(prompted: Prompted) -> list[str]:
    """Notes and sources, one line each."""
    sources = [f"[{source.score:.3f}] {source.passage_id}: {_cut(source)}" for source in prompted.sources]
    nothing = ["no passage is near enough"] if prompted.context == "retrieved" and not sources else []
    return [*prompted.notes, *sources, *nothing]


def _set_arm(dialogue: Dialogue, value: str) -> None:
    dialogue.arm = dialogue.asker.choose_arm(value)


def _toggle_comparison(dialogue: Dialogue, value: str) -> None:
    dialogue.compare = not dialogue.compare


def _set_passages(dialogue: Dialogue, value: str) -> None:
    if not value.isdecimal() or not 1 <= int(value) <= len(dialogue.asker.experiment.passages):
        raise InputError("/k", repr(value), f"a number from 1 to {len(dialogue.asker.experiment.passages)}")
    dialogue.k = int(value)


def _write_piece(piece: str) -> None:
    sys.stdout.write(piece)
    sys.stdout.flush()


def _stream_panels(asker: Asker, prompted: list[Prompted], console: Console) -> None:
    texts = [""] * len(prompted)

    def draw() -> RenderableType:
        width = console.width // 2 - 1 if console.width >= SIDE_BY_SIDE else console.width
        panels = [_draw_panel(one, text, width) for one, text in zip(prompted, texts, strict=True)]
        return Columns(panels, padding=(0, 1)) if console.width >= SIDE_BY_SIDE else Group(*panels)

    with Live(draw(), console=console, refresh_per_second=8) as live:
        for number, one in enumerate(prompted):

            def show(piece: str, number: int = number) -> None:
                texts[number] += piece
                live.update(draw())

            if asker.ask(one, show).truncated:
                show(" …")


def _draw_panel(prompted: Prompted, text: str, width: int) -> Panel:
    body = [Text(text or "…"), *(Text(line, style="dim") for line in list_details(prompted))]
    return Panel(Group(*body), title=Text(str(prompted.arm)), width=width)


def _cut(source: Source) -> str:
    text = " ".join(source.text.split())
    return text if len(text) <= EXCERPT else text[: EXCERPT - 1] + "…"
