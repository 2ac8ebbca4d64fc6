"""Panels as PNG files, by matplotlib: for papers and messages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from uer_ds.errors import UserError
from uer_ds.report.figures import Panel


def write_pictures(folder: Path, panels: Sequence[Panel], names: Sequence[str], x_title: str) -> list[Path]:
    """One file for each panel, named after its title. Raises UserError without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError("--png_folder needs the package matplotlib; `pip install 'uer_ds[finetune]'`.") from error
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for panel in panels:
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        axis = figure.subplots()
        for curve in panel.curves:
            xs, ys = zip(*curve.points, strict=True)
            style: dict[str, Any] = {"linestyle": "--", "marker": "o"} if curve.held_out else {}
            label = names[curve.run] + (" (held-out)" if curve.held_out else "")
            axis.plot(xs, ys, color=f"C{curve.run}", label=label, **style)
        for run, x in panel.resumes:
            axis.axvline(x, color=f"C{run}", linestyle=":")
        for run, x in panel.skipped:
            axis.plot([x], [0.02], marker="^", color=f"C{run}", transform=axis.get_xaxis_transform())
        axis.set(title=panel.title, xlabel=x_title)
        axis.grid(alpha=0.3)
        axis.legend()
        name = "".join(c if c.isalnum() else "_" for c in panel.title.lower()).strip("_")
        found.append(folder / f"{name}.png")
        figure.savefig(found[-1], dpi=150)
    return found
