"""The report of a sweep: a table of settings × arms, a plot of the lifts, and what they cannot say."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any, Literal

from markupsafe import Markup
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from raglift import __version__
from raglift.report.canvas import Canvas, fit_scale, measure_text
from raglift.report.figures import Figure, draw_axis, draw_band, draw_lift, has_interval, make_figure
from raglift.report.html import fill_page, read_part, write_policy
from raglift.report.markdown_table import draw_table
from raglift.report.numbers import MISSING, format_accuracy, format_interval, format_p, format_points
from raglift.report.texts import Say, say_split, speak
from raglift.runfolder import write_atomically, write_json

MOST_KEYS = 3  # with a column of their own in the terminal
_HEAD_BREAK = re.compile(r"(?<=[._])| ")
LABEL = 260  # pixels of a label that is not cut, in the narrow drawing too
STEP = {False: 27, True: 40}  # pixels of a row, by whether the drawing is narrow


def write_sweep(folder: Path, sweep: dict[str, Any]) -> list[Path]:
    """Write sweep.json, sweep.md and sweep.html into a folder."""
    files = [folder / f"sweep.{kind}" for kind in ("json", "md", "html")]
    write_json(files[0], sweep)
    write_atomically(files[1], write_markdown(sweep))
    write_atomically(files[2], write_page(sweep))
    return files


def print_sweep(sweep: dict[str, Any], file: Path | str, console: Console | None = None) -> None:
    """The table on standard output (or to `console`), of the two compared arms alone; last, where the page is.

    Up to three keys have a column each, and heads break where they can: that fits into 80 columns.
    """
    say = speak(sweep["language"])
    arms = list(dict.fromkeys((sweep["a"], sweep["b"])))
    alone = len(sweep["keys"]) <= MOST_KEYS
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    names = shorten_keys(sweep["keys"]) if alone else [say("word.setting")]
    for head in (*names, *arms, *_name_measures(say)):
        side: Literal["left", "right"] = "right" if alone or head not in names else "left"
        table.add_column(Text(_HEAD_BREAK.sub("\n", head)), justify=side, vertical="bottom", no_wrap=True)
    for row in sweep["settings"]:
        first = row["values"].values() if alone else [row["name"].replace(", ", "\n")]
        table.add_row(*map(Text, [*first, *_list_accuracies(row, arms), *_list_measures(row)]))
    found = Text(say("sweep.file", file=file), overflow="fold")
    show = (console or Console(highlight=False)).print
    show(Text(say_about(sweep, say)), table, Text(say("sweep.note")), Text(), found, sep="\n")


def list_cells(sweep: dict[str, Any], say: Say) -> list[list[str]]:
    """The table, its head first: what is set, lift with interval, adjusted p, accuracy of each arm."""
    arms = list(dict.fromkeys(arm for row in sweep["settings"] for arm in row["arms"]))
    rows = [[*row["values"].values(), *_list_measures(row), *_list_accuracies(row, arms)] for row in sweep["settings"]]
    return [[*shorten_keys(sweep["keys"]), *_name_measures(say), *arms], *rows]


def shorten_keys(keys: list[str]) -> list[str]:
    """`epochs` for `train.epochs`, where no two keys are alike then."""
    last = Counter(key.rpartition(".")[2] for key in keys)
    return [name if last[name := key.rpartition(".")[2]] == 1 else key for key in keys]


def _name_measures(say: Say) -> list[str]:
    return [say(f"word.{word}") for word in ("lift", "interval", "p_holm")]


def _list_measures(row: dict[str, Any]) -> list[str]:
    interval = format_interval(row["ci95"]) if has_interval(row, "lift") else MISSING
    return [format_points(row["lift"]), interval, format_p(row["p_holm"])]


def _list_accuracies(row: dict[str, Any], arms: list[str]) -> list[str]:
    return [format_accuracy(row["arms"].get(arm)) for arm in arms]


def say_about(sweep: dict[str, Any], say: Say) -> str:
    """What was compared, in a sentence."""
    return say(
        "sweep.about", count=len(sweep["settings"]), a=sweep["a"], b=sweep["b"], questions=sweep["questions"],
        split=say_split(say, sweep["split"]),
    )  # fmt: skip


def say_title(sweep: dict[str, Any], say: Say) -> str:
    return say("sweep.title", name=sweep["experiment"], keys=", ".join(sweep["keys"]))


def write_markdown(sweep: dict[str, Any]) -> str:
    """sweep.md."""
    say = speak(sweep["language"])
    head, *rows = list_cells(sweep, say)
    parts = [f"# {say_title(sweep, say)}", say_about(sweep, say), draw_table(head, rows), say("sweep.note")]
    return "\n\n".join(parts) + "\n"


def write_page(sweep: dict[str, Any]) -> str:
    """sweep.html: one file without scripts."""
    say = speak(sweep["language"])
    head, *rows = list_cells(sweep, say)
    style = read_part("page.css") + read_part("figure.css")
    return fill_page(
        "sweep.html", language=sweep["language"], experiment=sweep["experiment"], title=say_title(sweep, say),
        about=say_about(sweep, say), band=say("sweep.band", margin=f"{sweep['margin']:g}"), note=say("sweep.note"),
        head=head, rows=rows, figure=draw_sweep(sweep, say), made=say("page.made", version=__version__),
        style=Markup(style), policy=write_policy([style], []),
    )  # fmt: skip


def draw_sweep(sweep: dict[str, Any], say: Say) -> Figure | None:
    """Lift of each setting with its interval; None where no setting has one."""
    rows = [{**row, "name": name} for row, name in zip(sweep["settings"], _label_rows(sweep), strict=True)]
    drawn = [row for row in rows if has_interval(row, "lift")]
    if not drawn:
        return None
    described = "; ".join(f"{row['name']}: {format_points(row['lift'])}" for row in drawn)
    return make_figure(
        "sweep", say("sweep.lifts"), described, lambda canvas: _fill(canvas, drawn, sweep["margin"])
    )  # fmt: skip


def _label_rows(sweep: dict[str, Any]) -> list[str]:
    """`epochs=5, rank=8` for each setting; the values alone (the title names their keys) where one would be cut."""
    keys, settings = shorten_keys(sweep["keys"]), [list(row["values"].values()) for row in sweep["settings"]]
    labels = [", ".join(f"{key}={value}" for key, value in zip(keys, row, strict=True)) for row in settings]
    fits = all(measure_text(label) < LABEL for label in labels)
    return labels if fits else [", ".join(row) for row in settings]


def _fill(canvas: Canvas, rows: list[dict[str, Any]], margin: float) -> float:
    limits = [limit for row in rows for limit in row["ci95"]]
    left, right = (8.0, canvas.width - 12.0) if canvas.narrow else (286.0, canvas.width - 168.0)
    scale = fit_scale(min(*limits, -margin), max(*limits, margin), left, right, 5 if canvas.narrow else 7)
    step = STEP[canvas.narrow]
    height = len(rows) * step + 42
    draw_band(canvas, scale, margin, height - 30)
    draw_axis(canvas, scale, height - 30, [format_points(tick).removesuffix(".0") for tick in scale.ticks])
    for number, row in enumerate(rows):
        draw_lift(canvas, scale, row, 6 + number * step, headline=False)
    return height
