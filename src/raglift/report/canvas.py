"""SVG by hand: a few shapes with classes, escaped text, a title and a description."""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass, field

from markupsafe import Markup, escape

WIDE, NARROW = 880, 336  # units are CSS pixels: one drawing for a desk, one for a phone


@dataclass
class Canvas:
    """Shapes in drawing order; `render` closes it at a height."""

    name: str
    width: int
    title: str
    description: str
    shapes: list[Markup] = field(default_factory=list)

    @property
    def narrow(self) -> bool:
        return self.width <= NARROW

    def line(self, start: tuple[float, float], end: tuple[float, float], kind: str) -> None:
        (x1, y1), (x2, y2) = start, end
        self._add('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>', kind, *map(_trim, (x1, y1, x2, y2)))

    def box(self, corner: tuple[float, float], size: tuple[float, float], kind: str) -> None:
        values = map(_trim, (*corner, *size))
        self._add('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>', kind, *values)

    def dot(self, center: tuple[float, float], radius: float, kind: str) -> None:
        self._add('<circle class="{}" cx="{}" cy="{}" r="{}"/>', kind, *map(_trim, (*center, radius)))

    def diamond(self, center: tuple[float, float], radius: float, kind: str) -> None:
        x, y = center
        corners = ((x, y - radius), (x + radius, y), (x, y + radius), (x - radius, y))
        self._add('<polygon class="{}" points="{}"/>', kind, _join(corners))

    def curve(self, points: list[tuple[float, float]], kind: str) -> None:
        self._add('<polyline class="{}" points="{}"/>', kind, _join(points))

    def text(self, place: tuple[float, float], words: str, kind: str, anchor: str = "start") -> None:
        shape = '<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>'
        self._add(shape, kind, *map(_trim, place), anchor, words)

    def render(self, height: float) -> Markup:
        """The finished drawing."""
        kind, label = ("narrow" if self.narrow else "wide"), f"{self.name}-{self.width}"
        return Markup(
            '<svg xmlns="http://www.w3.org/2000/svg" class="figure {}" viewBox="0 0 {} {}" width="{}" height="{}" '
            'role="img" aria-labelledby="{}-title {}-desc"><title id="{}-title">{}</title><desc id="{}-desc">{}</desc>'
            '<rect class="paper" width="100%" height="100%"/>{}</svg>'
        ).format(
            kind,
            self.width,
            _trim(height),
            self.width,
            _trim(height),
            label,
            label,
            label,
            self.title,
            label,
            self.description,
            Markup("").join(self.shapes),
        )

    def _add(self, shape: str, *values: object) -> None:
        self.shapes.append(Markup(shape).format(*(escape(value) for value in values)))


@dataclass(frozen=True)
class Scale:
    """A linear map from values to places on a canvas, with round ticks."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]

    def place(self, value: float) -> float:
        """Where a value lies; values outside lie on the edge."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)


def fit_scale(low: float, high: float, start: float, end: float, most: int = 6) -> Scale:
    """A scale over [low, high], widened to round ticks, at most `most` of them."""
    span = max(high - low, 1e-9)
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10, 20) if span / (power * factor) <= most - 1)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(round(step * place, 10) + 0.0 for place in range(first, last + 1))
    return Scale(ticks[0], ticks[-1] if len(ticks) > 1 else ticks[0] + step, start, end, ticks)


def measure_text(words: str, size: float = 13) -> float:
    """About the width of a text in pixels: Korean letters are square, Latin ones a bit over half."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in words)
    return size * (0.94 * wide + 0.52 * (len(words) - wide))


def fit_text(words: str, width: float, size: float = 13) -> str:
    """The text, cut with an ellipsis where it would be wider than `width`."""
    if measure_text(words, size) <= width:
        return words
    while words and measure_text(words + "…", size) > width:
        words = words[:-1]
    return words.rstrip() + "…"


def _trim(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _join(points: list[tuple[float, float]] | tuple[tuple[float, float], ...]) -> str:
    return " ".join(f"{_trim(x)},{_trim(y)}" for x, y in points)
