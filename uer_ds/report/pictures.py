"""Panels as PNG files, by matplotlib: for papers and messages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from uer_ds.errors import UserError
from uer_ds.report.figures import TEST, Panel

CHINESE = ("Noto Sans CJK SC", "Source Han Sans SC", "WenQuanYi Micro Hei", "PingFang SC", "Microsoft YaHei", "SimHei")
"""Fonts for what DejaVu Sans has no letters for; those that are installed are asked in this order."""


def write_pictures(folder: Path, panels: Sequence[Panel], names: Sequence[str], x_title: str) -> list[Path]:
    """One file for each panel, named after its title. Raises UserError without matplotlib."""
    try:
        from matplotlib import font_manager, rc_context
    except ImportError as error:
        raise UserError("--png_folder needs the package matplotlib; `pip install 'uer_ds[finetune]'`.") from error
    folder.mkdir(parents=True, exist_ok=True)
    installed = set(font_manager.get_font_names())
    found = []
    with rc_context({"font.family": ["DejaVu Sans", *(name for name in CHINESE if name in installed)]}):
        for panel in panels:
            name = "".join(c if c.isalnum() else "_" for c in panel.title.lower()).strip("_")
            found.append(folder / f"{name}.png")
            _figure(panel, names, x_title).savefig(found[-1], dpi=150)
    return found


def _figure(panel: Panel, names: Sequence[str], x_title: str) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axis = figure.subplots()
    for curve in panel.curves:
        xs, ys = zip(*curve.points, strict=True)
        style: dict[str, Any] = {"linestyle": "--", "marker": "o"} if curve.held_out or len(xs) == 1 else {}
        style |= {"markerfacecolor": "none"} if curve.part == TEST else {}
        label = names[curve.run] + (f" ({curve.part})" if curve.part else "")
        axis.plot(xs, ys, color=f"C{curve.run}", label=label, **style)
    for run, x in panel.resumes:
        axis.axvline(x, color=f"C{run}", linestyle=":")
    for run, x in panel.skipped:
        axis.plot([x], [0.02], marker="^", color=f"C{run}", transform=axis.get_xaxis_transform())
    axis.set(title=panel.title, xlabel=x_title)
    axis.grid(alpha=0.3)
    axis.legend()
    return figure
