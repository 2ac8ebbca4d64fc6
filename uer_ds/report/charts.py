"""A panel as SVG inside a page: colours are the page's variables, so light, dark and print follow by themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from uer_ds.report.figures import TEST, Curve, Panel, Point

WIDTH, HEIGHT, RIGHT, TOP, BOTTOM = 640, 300, 26, 12, 44
DIGIT, GAP = 12.7, 8
"""Width of a digit in the largest letters that a page sets (20, on a phone), and from a label to the frame."""

COLOURS = 8
"""Colours of runs; the ninth has the first again, with other dashes."""


def svg(panel: Panel, x_title: str) -> str:
    """The picture of a panel."""
    xs, ys = ticks(panel.span, 6), ticks([y for curve in panel.curves for _, y in curve.points], 5)
    names = labels(ys)
    left = 2 * GAP + DIGIT * max(map(len, names))
    frame = Frame(xs, ys, left)
    label = escape(panel.title)
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}"><title>{label}</title>']
    for y, name in zip(ys, names, strict=True):
        parts.append(f'<path class="grid" d="M{left:.1f} {frame.y(y):.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{left - GAP:.1f}" y="{frame.y(y) + 4:.1f}" text-anchor="end">{name}</text>')
    for x, name in zip(xs, labels(xs), strict=True):
        parts.append(f'<text x="{frame.x(x):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{name}</text>')
    middle = (left + WIDTH - RIGHT) / 2
    parts.append(f'<text class="axis" x="{middle}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x_title)}</text>')
    for run, x in panel.resumes:
        at = f"{frame.x(x):.1f}"
        parts.append(
            f'<path class="resume c{run % COLOURS}" d="M{at} {TOP}V{HEIGHT - BOTTOM}"><title>resumed</title></path>'
        )
    for run, x in panel.skipped:
        place, low = frame.x(x), HEIGHT - BOTTOM
        shape = f"M{place - 5:.1f} {low}L{place:.1f} {low - 9}L{place + 5:.1f} {low}Z"
        parts.append(f'<path class="skipped c{run % COLOURS}" d="{shape}"><title>skipped update</title></path>')
    parts += [_curve(curve, frame) for curve in panel.curves]
    return "".join([*parts, "</svg>"])


class Frame:
    """Numbers -> places in the picture. The axes begin and end at ticks."""

    def __init__(self, xs: Sequence[float], ys: Sequence[float], left: float):
        self._x, self._y, self._left = (xs[0], xs[-1]), (ys[0], ys[-1]), left

    def x(self, value: float) -> float:
        """From the left."""
        share = (value - self._x[0]) / (self._x[1] - self._x[0])
        return self._left + min(1.0, max(0.0, share)) * (WIDTH - self._left - RIGHT)

    def y(self, value: float) -> float:
        """From the top."""
        return HEIGHT - BOTTOM - (value - self._y[0]) / (self._y[1] - self._y[0]) * (HEIGHT - TOP - BOTTOM)


def _curve(curve: Curve, frame: Frame) -> str:
    classes = f"c{curve.run % COLOURS}" + (" second" if curve.run >= COLOURS else "")
    places = [(frame.x(x), frame.y(y)) for x, y in curve.points]
    line = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    parts = [f'<path class="line {classes}{" held" if curve.held_out else ""}" d="{line}"/>']
    if curve.held_out or len(places) == 1:
        classes += " test" if curve.part == TEST else ""
        said = f"{curve.part} " if curve.part else ""
        parts += [_dot(classes, place, point, said) for place, point in zip(places, curve.points, strict=True)]
    return "".join(parts)


def _dot(classes: str, place: Point, point: Point, said: str) -> str:
    said = escape(f"{said}{point[1]:.6g} at {point[0]:,.0f}")
    return (
        f'<circle class="dot {classes}" cx="{place[0]:.1f}" cy="{place[1]:.1f}" r="3.5"><title>{said}</title></circle>'
    )


def ticks(values: Sequence[float], wanted: int) -> list[float]:
    """About `wanted` round numbers that begin at or below the least value and end at or above the greatest."""
    low, high = min(values), max(values)
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # as good as one value: no ticks fit between
        low, high = (low - abs(low) / 2, high + abs(high) / 2) if low else (0.0, 1.0)
    raw = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * round_ for round_ in (1, 2, 2.5, 5, 10) if power * round_ >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def labels(values: Sequence[float]) -> list[str]:
    """Evenly spaced ticks in as few digits as say them right, at least four."""
    near = abs(values[1] - values[0]) / 1000
    enough = (d for d in range(4, 17) if all(abs(float(f"{value:.{d}g}") - value) <= near for value in values))
    digits = next(enough, 17)
    return [short(value, digits) for value in values]


def short(value: float, digits: int = 4) -> str:
    """A number for an axis: 1.2M, 40k, 0.002, 3e-05."""
    for limit, sign in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            return f"{value / (1e3 if sign == 'k' else limit):.{max(6, digits)}g}{sign}"
    return "0" if abs(value) < 1e-15 else f"{value:.{digits}g}"
