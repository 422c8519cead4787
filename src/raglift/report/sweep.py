"""The report of a sweep: a table of settings × arms, a plot of the lifts, and what they cannot say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from rich.console import Console
from rich.table import Table
from rich.text import Text

from raglift.report.canvas import Canvas, fit_scale
from raglift.report.figures import Figure, draw_axis, draw_band, draw_lift, has_interval, make_figure
from raglift.report.markdown_table import draw_table
from raglift.report.numbers import MISSING, format_accuracy, format_interval, format_p, format_points
from raglift.runfolder import write_atomically, write_json

STEP = {False: 27, True: 40}  # pixels of a row, by whether the drawing is narrow
NOTE = (
    "Exploratory: the settings were tried on the same questions, so the best of them looks better than it is. "
    "p is Holm-adjusted for all settings of this sweep. Confirm a chosen setting on questions that no setting has seen."
)


def write_sweep(folder: Path, sweep: dict[str, Any]) -> list[Path]:
    """Write sweep.json, sweep.md and sweep.html into a folder."""
    files = [folder / f"sweep.{kind}" for kind in ("json", "md", "html")]
    write_json(files[0], sweep)
    write_atomically(files[1], write_markdown(sweep))
    write_atomically(files[2], write_page(sweep))
    return files


def print_sweep(sweep: dict[str, Any], file: Path) -> None:
    """The table on standard output; last, where the page is."""
    head, *rows = list_cells(sweep)
    table = Table(title=Text(describe_sweep(sweep)), title_justify="left")
    for number, cell in enumerate(head):
        table.add_column(Text(cell), justify="right" if number else "left")
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console(highlight=False)
    console.print(table, Text(NOTE), Text(f"sweep: {file}", overflow="fold"), sep="\n")


def list_cells(sweep: dict[str, Any]) -> list[list[str]]:
    """The table, its head first: setting, accuracy of each arm, lift with interval, adjusted p."""
    arms = list(dict.fromkeys(arm for row in sweep["settings"] for arm in row["arms"]))
    table = [["setting", *arms, f"lift {sweep['a']} → {sweep['b']}", "95 % interval", "p (Holm)"]]
    for row in sweep["settings"]:
        accuracies = [row["arms"].get(arm) for arm in arms]
        lift = MISSING if row["lift"] is None else format_points(row["lift"])
        interval = format_interval(row["ci95"]) if has_interval(row, "lift") else MISSING
        shown = [MISSING if one is None else format_accuracy(one) for one in accuracies]
        table.append([row["name"], *shown, lift, interval, format_p(row["p_holm"])])
    return table


def describe_sweep(sweep: dict[str, Any]) -> str:
    """What was compared, in a sentence."""
    count, questions = len(sweep["settings"]), sweep["questions"]
    return f"{count} settings of {', '.join(sweep['keys'])}; {questions} questions of split {sweep['split']}."


def write_markdown(sweep: dict[str, Any]) -> str:
    """sweep.md."""
    head, *rows = list_cells(sweep)
    return "\n".join(
        [f"# Sweep of {sweep['experiment']}", "", describe_sweep(sweep), "", draw_table(head, rows), "", NOTE, ""]
    )


def write_page(sweep: dict[str, Any]) -> str:
    """sweep.html: one file without scripts."""
    environment = Environment(loader=PackageLoader("raglift", "report"), autoescape=True, undefined=StrictUndefined)
    head, *rows = list_cells(sweep)
    style = Path(__file__).with_name("figure.css").read_text(encoding="utf-8")
    page: str = environment.get_template("sweep.html").render(
        sweep=sweep, head=head, rows=rows, figure=draw_sweep(sweep), about=describe_sweep(sweep), note=NOTE,
        style=Markup(style),
    )  # fmt: skip
    return page


def draw_sweep(sweep: dict[str, Any]) -> Figure | None:
    """Lift of each setting with its interval; None where no setting has one."""
    rows = [row for row in sweep["settings"] if has_interval(row, "lift")]
    if not rows:
        return None
    described = "; ".join(f"{row['name']}: {format_points(row['lift'])}" for row in rows)
    return make_figure("sweep", "Lift of each setting", described, lambda canvas: _fill(canvas, rows, sweep["margin"]))


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
