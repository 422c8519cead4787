"""The figures of a report: forest plot of the lifts, accuracy of the arms; each drawn wide and narrow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from raglift.report.canvas import NARROW, WIDE, Canvas, Scale, fit_scale, fit_text
from raglift.report.content import Content
from raglift.report.numbers import format_accuracy, format_interval, format_points, is_number
from raglift.report.texts import Say, say_split

ROW, HEAD = 27, 30  # pixels


@dataclass(frozen=True)
class Figure:
    """A drawing in its two widths; `name` is the file that it is saved under."""

    name: str
    title: str
    wide: Markup
    narrow: Markup


def make_figure(name: str, title: str, description: str, draw: Callable[[Canvas], float]) -> Figure:
    """Draw twice; `draw` fills a canvas and returns its height."""
    drawings = []
    for width in (WIDE, NARROW):
        canvas = Canvas(name, width, title, description)
        drawings.append(canvas.render(draw(canvas)))
    return Figure(name, title, *drawings)


def has_interval(row: dict[str, Any] | None, key: str) -> bool:
    """Whether a row has a number under `key` with both limits of its interval."""
    limits = (row or {}).get("ci95") or ()
    return row is not None and is_number(row.get(key)) and len(limits) == 2 and all(map(is_number, limits))


def draw_forest(content: Content, say: Say) -> Figure | None:
    """Lift of each contrast with its interval, by split; the headline is a diamond. None without contrasts."""
    rows = [row for row in content.comparison.get("contrasts") or [] if has_interval(row, "lift")]
    if not rows:
        return None
    margin = float(content.comparison.get("margin") or content.settings["compare"]["margin"])
    described = "; ".join(f"{row.get('name')} ({row.get('split')}): {_write_lift(row)}" for row in rows)

    def draw(canvas: Canvas) -> float:
        return _fill_forest(canvas, content, rows, margin, say)

    return make_figure("lifts", say("figure.forest"), described, draw)


def _write_lift(row: dict[str, Any]) -> str:
    return f"{format_points(row['lift'])} {format_interval(row['ci95'])}"


def _fill_forest(canvas: Canvas, content: Content, rows: list[dict[str, Any]], margin: float, say: Say) -> float:
    limits = [limit for row in rows for limit in row["ci95"]]
    left, right = (8.0, canvas.width - 12.0) if canvas.narrow else (286.0, canvas.width - 168.0)
    scale = fit_scale(min(*limits, -margin), max(*limits, margin), left, right, 5 if canvas.narrow else 7)
    step = 40 if canvas.narrow else ROW
    splits = list(dict.fromkeys(str(row.get("split")) for row in rows))
    height = len(rows) * step + len(splits) * HEAD + 34
    draw_band(canvas, scale, margin, height - 30)
    draw_axis(canvas, scale, height - 30, [format_points(tick).removesuffix(".0") for tick in scale.ticks])
    y = 0.0
    for split in splits:
        canvas.text((8, y + 20), say_split(say, split), "group")
        y += HEAD
        for row in rows:
            if str(row.get("split")) == split:
                draw_lift(canvas, scale, row, y, row.get("kind") == "headline")
                y += step
    return height


def draw_lift(canvas: Canvas, scale: Scale, row: dict[str, Any], y: float, headline: bool) -> None:
    """A row of the forest plot from `y` (pixels) down: its name, its interval and point, the lift in words."""
    name, words = str(row.get("name") or f"{row.get('a')} → {row.get('b')}"), _write_lift(row)
    strong = " strong" if headline else ""
    middle = y + (29 if canvas.narrow else ROW / 2)
    if canvas.narrow:
        words = format_points(row["lift"])
        canvas.text((8, y + 14), fit_text(name, canvas.width - 70, 12), "small" + strong)
        canvas.text((canvas.width - 8, y + 14), words, "small value" + strong, "end")
    else:
        canvas.text((8, middle + 4.5), fit_text(name, 268), "label" + strong)
        canvas.text((canvas.width - 8, middle + 4.5), words, "label value" + strong, "end")
    low, high = row["ci95"]
    sign = "up" if low > 0 else "down" if high < 0 else "open"
    canvas.line((scale.place(low), middle), (scale.place(high), middle), f"whisker {sign}{strong}")
    place = (scale.place(row["lift"]), middle)
    if headline:
        canvas.diamond(place, 7, f"mark {sign}")
    else:
        canvas.dot(place, 4.5, f"mark {sign}")


def draw_band(canvas: Canvas, scale: Scale, margin: float, bottom: float) -> None:
    low, high = scale.place(-margin), scale.place(margin)
    canvas.box((low, 4), (high - low, bottom - 4), "band")


def draw_axis(canvas: Canvas, scale: Scale, bottom: float, labels: list[str], top: float = 4) -> None:
    """Grid lines up from `bottom` with a label under each; the line at 0 is stronger."""
    for tick, label in zip(scale.ticks, labels, strict=True):
        x = scale.place(tick)
        canvas.line((x, top), (x, bottom), "zero" if tick == 0 else "grid")
        canvas.text((x, bottom + 16), label, "tick", "middle")


def draw_arms(content: Content, say: Say) -> Figure | None:
    """Accuracy of each arm with its interval, a panel per split. None without arms."""
    arms = content.comparison.get("arms") or {}
    cells = {
        (arm, split): cell
        for arm in content.arms
        for split in content.splits
        if is_number((cell := (arms[arm] or {}).get(split) or {}).get("accuracy"))
    }
    if not cells:
        return None
    described = "; ".join(f"{arm} ({split}): {format_accuracy(c['accuracy'])}" for (arm, split), c in cells.items())

    def draw(canvas: Canvas) -> float:
        return _fill_arms(canvas, content, cells, say)

    return make_figure("arms", say("figure.arms"), described, draw)


def _fill_arms(canvas: Canvas, content: Content, cells: dict[tuple[str, str], dict[str, Any]], say: Say) -> float:
    splits = [split for split in content.splits if any((arm, split) in cells for arm in content.arms)]
    label = 128.0 if canvas.narrow else 152.0
    panel = len(content.arms) * ROW + HEAD + 30
    share = canvas.width - label if canvas.narrow else (canvas.width - label) / len(splits)
    for number, split in enumerate(splits):
        x, y = (label, number * panel) if canvas.narrow else (label + number * share, 0.0)
        if canvas.narrow or number == 0:
            for place, arm in enumerate(content.arms):
                kind = "small" if canvas.narrow else "label"
                words = fit_text(arm, label - 10, 12 if canvas.narrow else 13)
                canvas.text((8, y + HEAD + place * ROW + 18), words, f"{kind} {_colour(arm, content)}")
        _fill_panel(canvas, content, {arm: cells.get((arm, split)) for arm in content.arms}, (x, y), share)
        canvas.text((x + 6, y + 20), say_split(say, split), "group")
    return panel * len(splits) if canvas.narrow else panel


def _fill_panel(
    canvas: Canvas, content: Content, cells: dict[str, dict[str, Any] | None], corner: tuple[float, float], width: float
) -> None:
    x, y = corner
    scale = Scale(0, 100, x + 8, x + width - 58, (0, 50, 100))
    draw_axis(canvas, scale, y + HEAD + len(cells) * ROW, ["0", "50", "100"], y + HEAD)
    for place, (arm, cell) in enumerate(cells.items()):
        if cell is None:
            continue
        middle, colour = y + HEAD + place * ROW + ROW / 2, _colour(arm, content)
        if has_interval(cell, "accuracy"):
            low, high = cell["ci95"]
            canvas.line((scale.place(low), middle), (scale.place(high), middle), f"whisker {colour}")
        canvas.dot((scale.place(cell["accuracy"]), middle), 4.5, f"mark {colour}")
        words = format_accuracy(cell["accuracy"])
        canvas.text((x + width - 4, middle + 4.5), words, f"small value {colour}", "end")


def _colour(arm: str, content: Content) -> str:
    if content.a == content.b:
        return "other"
    return {content.a: "arm-a", content.b: "arm-b"}.get(arm, "other")
