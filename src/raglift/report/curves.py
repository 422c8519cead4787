"""Figures of the training curves and of how the arms behave."""

from __future__ import annotations

from typing import Any

from raglift.report.canvas import Canvas, Scale, fit_scale, fit_text, measure_text
from raglift.report.content import Content, TrainingLog
from raglift.report.figures import HEAD, ROW, Figure, make_figure
from raglift.report.numbers import format_accuracy, format_decimal, is_number
from raglift.report.texts import TABLE, Say

PANEL = 200  # pixels of height
MEASURES = ("loss", "gradient_norm")
COLOURS = {  # 0 for what one hopes for, 1 for what one does not, 2 for neither
    "follows_passage": "share-0",
    "declines": "share-0",
    "not misled": "share-0",
    "follows_memory": "share-1",
    "invents": "share-1",
    "misled": "share-1",
    "other": "share-2",
}


def draw_training(content: Content, say: Say) -> Figure | None:
    """Loss and gradient norm over the epochs, a curve per training. None when nothing was trained."""
    logs = [log for log in content.training if len(_take_points(log, "loss")) > 1]
    if not logs:
        return None
    described = "; ".join(
        f"{_name_log(log, say)}: {format_decimal(points[0][1], 3)} → {format_decimal(points[-1][1], 3)}"
        for log in logs
        if (points := _take_points(log, "loss"))
    )

    def draw(canvas: Canvas) -> float:
        return _fill_training(canvas, logs, say)

    return make_figure("training", say("figure.training"), described, draw)


def _name_log(log: TrainingLog, say: Say) -> str:
    return f"{log.tuning}, {say('word.seed', seed=log.seed)}"


def _take_points(log: TrainingLog, measure: str) -> list[tuple[float, float]]:
    along = "epoch" if all(is_number(row.get("epoch")) for row in log.rows) else "step"
    return [
        (float(row[along]), float(row[measure]))
        for row in log.rows
        if is_number(row.get(along)) and is_number(row.get(measure))
    ]


def _fill_training(canvas: Canvas, logs: list[TrainingLog], say: Say) -> float:
    names = list(dict.fromkeys(log.tuning for log in logs))
    _draw_legend(canvas, [(name, f"curve-{name}") for name in names])
    width = canvas.width if canvas.narrow else canvas.width / len(MEASURES)
    for number, measure in enumerate(MEASURES):
        corner = (0.0, HEAD + number * PANEL) if canvas.narrow else (number * width, float(HEAD))
        curves = [(f"curve curve-{log.tuning}", points) for log in logs if (points := _take_points(log, measure))]
        if curves:
            _fill_curves(canvas, curves, corner, width)
            canvas.text((corner[0] + 44, corner[1] + 14), say(f"training.{measure}"), "group")
            canvas.text((corner[0] + width - 12, corner[1] + PANEL - 2), say("training.epoch"), "tick", "end")
    return HEAD + PANEL * (len(MEASURES) if canvas.narrow else 1) + 6


def _fill_curves(
    canvas: Canvas, curves: list[tuple[str, list[tuple[float, float]]]], corner: tuple[float, float], width: float
) -> None:
    x, y = corner
    bottom = y + PANEL - 32
    furthest = max(point[0] for _, points in curves for point in points)
    across = fit_scale(0, furthest, x + 44, x + width - 12, 5)
    up = fit_scale(0, max(point[1] for _, points in curves for point in points), bottom, y + 24, 5)
    for tick in up.ticks:
        canvas.line((across.start, up.place(tick)), (across.end, up.place(tick)), "zero" if tick == 0 else "grid")
        canvas.text((across.start - 7, up.place(tick) + 4), f"{tick:g}", "tick", "end")
    for tick in across.ticks:
        canvas.text((across.place(tick), bottom + 16), f"{tick:g}", "tick", "middle")
    for kind, points in curves:
        canvas.curve([(across.place(along), up.place(value)) for along, value in points], kind)


def _draw_legend(canvas: Canvas, entries: list[tuple[str, str]]) -> float:
    """Names with their colour in a row, or in as many as they need; returns the height."""
    x, y = 8.0, 16.0
    for name, kind in entries:
        width = 26 + measure_text(name, 12)
        if x + width > canvas.width:
            x, y = 8.0, y + 20
        canvas.box((x, y - 9), (11, 11), f"swatch {kind}")
        canvas.text((x + 17, y + 1), name, "small")
        x += width + 14
    return y + 14


def draw_behaviour(content: Content, kind: str, say: Say) -> Figure | None:
    """Shares of what each arm did under one kind of trial, as stacked bars. None when not measured."""
    behaviour = content.comparison.get("behaviour") or {}
    rows = {str(arm): _take_shares(kind, shares or {}) for arm, shares in (behaviour.get(kind) or {}).items()}
    rows = {arm: shares for arm, shares in rows.items() if shares}
    if not rows or f"behaviour.{kind}" not in TABLE:
        return None
    described = "; ".join(
        f"{arm}: " + ", ".join(f"{say(f'behaviour.{name}')} {format_accuracy(share)}" for name, share in shares.items())
        for arm, shares in rows.items()
    )

    def draw(canvas: Canvas) -> float:
        return _fill_behaviour(canvas, rows, say)

    title = say("figure.behaviour", what=say(f"behaviour.{kind}"))
    return make_figure(f"behaviour-{kind}", title, described, draw)


def _take_shares(kind: str, shares: dict[str, Any]) -> dict[str, float]:
    known = {name: float(share) for name, share in shares.items() if name in COLOURS and is_number(share)}
    if kind == "irrelevant" and set(known) == {"misled"}:
        known["not misled"] = 100.0 - known["misled"]
    return known


def _fill_behaviour(canvas: Canvas, rows: dict[str, dict[str, float]], say: Say) -> float:
    names = list(dict.fromkeys(name for shares in rows.values() for name in shares))
    y = _draw_legend(canvas, [(say(f"behaviour.{name}"), COLOURS[name]) for name in names])
    label = 148.0 if canvas.narrow else 170.0
    scale = Scale(0, 100, label, canvas.width - 12.0, ())
    for arm, shares in rows.items():
        canvas.text((8, y + 18), fit_text(arm, label - 10, 12), "small")
        done = 0.0
        for name, share in shares.items():
            start, end = scale.place(done), scale.place(done + share)
            canvas.box((start, y + 3), (max(0.0, end - start - 1), ROW - 7), f"share {COLOURS[name]}")
            if end - start > 34:
                canvas.text(((start + end) / 2, y + 18), f"{share:.0f}%", f"inside {COLOURS[name]}", "middle")
            done += share
        y += ROW
    return y + 6
