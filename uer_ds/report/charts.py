"""A panel as SVG inside a page: colours are the page's variables, so light, dark and print follow by themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from uer_ds.report.figures import Curve, Panel, Point

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 300, 72, 26, 12, 44
COLOURS = 8
"""Colours of runs; the ninth has the first again, with other dashes."""


def svg(panel: Panel, x_title: str) -> str:
    """The picture of a panel."""
    points = [point for curve in panel.curves for point in curve.points]
    xs, ys = ticks([x for x, _ in points], 6), ticks([y for _, y in points], 5)
    frame = Frame(xs, ys)
    label = escape(panel.title)
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}"><title>{label}</title>']
    for y in ys:
        parts.append(f'<path class="grid" d="M{LEFT} {frame.y(y):.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{frame.y(y) + 4:.1f}" text-anchor="end">{short(y)}</text>')
    for x in xs:
        parts.append(f'<text x="{frame.x(x):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{short(x)}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
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

    def __init__(self, xs: Sequence[float], ys: Sequence[float]):
        self._x, self._y = (xs[0], xs[-1]), (ys[0], ys[-1])

    def x(self, value: float) -> float:
        """From the left."""
        share = (value - self._x[0]) / (self._x[1] - self._x[0])
        return LEFT + min(1.0, max(0.0, share)) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """From the top."""
        return HEIGHT - BOTTOM - (value - self._y[0]) / (self._y[1] - self._y[0]) * (HEIGHT - TOP - BOTTOM)


def _curve(curve: Curve, frame: Frame) -> str:
    classes = f"c{curve.run % COLOURS}" + (" second" if curve.run >= COLOURS else "")
    places = [(frame.x(x), frame.y(y)) for x, y in curve.points]
    line = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    parts = [f'<path class="line {classes}{" held" if curve.held_out else ""}" d="{line}"/>']
    if curve.held_out or len(places) == 1:
        parts += [_dot(classes, place, point) for place, point in zip(places, curve.points, strict=True)]
    return "".join(parts)


def _dot(classes: str, place: Point, point: Point) -> str:
    said = f"{point[1]:.6g} at {point[0]:,.0f}"
    return (
        f'<circle class="dot {classes}" cx="{place[0]:.1f}" cy="{place[1]:.1f}" r="3.5"><title>{said}</title></circle>'
    )


def ticks(values: Sequence[float], wanted: int) -> list[float]:
    """About `wanted` round numbers that begin at or below the least value and end at or above the greatest."""
    low, high = min(values), max(values)
    if high == low:
        low, high = (low - abs(low) / 2, high + abs(high) / 2) if low else (0.0, 1.0)
    raw = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * round_ for round_ in (1, 2, 2.5, 5, 10) if power * round_ >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def short(value: float) -> str:
    """A number for an axis: 1.2M, 40k, 0.002, 3e-05."""
    for limit, sign in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            return f"{value / (1e3 if sign == 'k' else limit):.6g}{sign}"
    return "0" if abs(value) < 1e-15 else f"{value:.4g}"
