"""A report as one HTML file: no network, no script; light, dark, narrow and printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from uer_ds.report.charts import COLOURS, svg
from uer_ds.report.figures import TEST, Panel, summary, time_split
from uer_ds.report.read import RunLog, differences

STYLE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1c2330;--soft:#5d6879;--rule:#dfe4ec;--card:#f7f9fc;
--c0:#2463c9;--c1:#d1495b;--c2:#2a8a5f;--c3:#b7791f;--c4:#7b4fc4;--c5:#14879a;--c6:#a84a8c;--c7:#5f6b2d}
@media (prefers-color-scheme:dark){:root{--paper:#12161d;--ink:#e4e9f1;--soft:#9aa6b8;--rule:#2b3442;--card:#1a202a;
--c0:#6ea1ff;--c1:#ff8695;--c2:#5fcf9d;--c3:#eab45a;--c4:#b795ff;--c5:#54c6da;--c6:#e58cc6;--c7:#b6c46f}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,"Noto Sans CJK SC","WenQuanYi Micro Hei",
sans-serif}
main{max-width:1160px;margin:0 auto;padding:24px 16px 48px}
h1{font-size:1.6rem;margin:0 0 4px}h2{font-size:1.15rem;margin:36px 0 10px}h3{font-size:.95rem;margin:0 0 6px}
p{margin:6px 0;color:var(--soft)}
.legend{display:flex;flex-wrap:wrap;gap:6px 20px;margin:14px 0}.legend span::before{content:"";display:inline-block;
width:22px;height:3px;margin-right:8px;vertical-align:middle;background:var(--c)}
.panels{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,440px),1fr));gap:16px}
figure{margin:0;padding:14px 14px 8px;background:var(--card);border:1px solid var(--rule);border-radius:10px;
break-inside:avoid}
svg{display:block;width:100%;height:auto}svg text{font-size:13px;fill:var(--soft)}
@media (max-width:600px){svg text{font-size:20px}}
.grid{stroke:var(--rule)}.line{fill:none;stroke:var(--c);stroke-width:2;stroke-linejoin:round}
.line.held{stroke-dasharray:6 4}.line.second{stroke-dasharray:2 3}.dot{fill:var(--c)}
.dot.test{fill:var(--card);stroke:var(--c);stroke-width:2}
.resume{stroke:var(--c);stroke-dasharray:2 4;stroke-width:1.5}.skipped{fill:var(--c)}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.92rem}
th,td{text-align:left;padding:6px 14px 6px 0;border-bottom:1px solid var(--rule);vertical-align:top;
min-width:7.5em;overflow-wrap:anywhere}
td{font-variant-numeric:tabular-nums}th{font-weight:600}
.bar i,.legend span::before{print-color-adjust:exact;-webkit-print-color-adjust:exact}
.bar{display:flex;height:20px;border-radius:5px;overflow:hidden;margin:4px 0 10px}.bar i{display:block;height:100%}
.sample{padding:10px 14px;background:var(--card);border:1px solid var(--rule);border-radius:10px;margin:0 0 10px}
.sample p{color:var(--ink);white-space:pre-line}
details summary{cursor:pointer;margin-top:24px;font-weight:600}
@media print{th,td{min-width:0}h2,h3{break-after:avoid}tr,.sample{break-inside:avoid}}
@media print{main{max-width:none;padding:0}body{font-size:11pt}.panels{grid-template-columns:1fr 1fr}
:root{--paper:#fff;--ink:#000;--soft:#444;--rule:#ccc;--card:#fff;
--c0:#2463c9;--c1:#d1495b;--c2:#2a8a5f;--c3:#b7791f;--c4:#7b4fc4;--c5:#14879a;--c6:#a84a8c;--c7:#5f6b2d}}
"""
COLOUR_RULES = "".join(f".c{n}{{--c:var(--c{n})}}" for n in range(COLOURS))
SPLIT_COLOURS = {"training": "c5", "waiting for data": "c4", "evaluating and saving": "c3"}
"""Not those of the first runs."""

NAMED = 4
"""Runs that a title names."""

Samples = Sequence[tuple[str, Sequence[tuple[str, str]]]]
"""For each text: what was asked, and pairs (run, answer)."""


def page(runs: Sequence[RunLog], panels: Sequence[Panel], x_title: str, samples: Samples = ()) -> str:
    """The whole file."""
    title = " · ".join(run.name for run in runs) if len(runs) <= NAMED else f"{len(runs)} runs"
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<title>{escape(title)}</title><style>{STYLE}{COLOUR_RULES}</style></head><body><main>",
        f"<h1>{escape(title)}</h1>",
        _legend(runs),
        _table("", [run.name for run in runs], _columns([summary(run) for run in runs])),
        *(f"<p>{escape(run.name)}: {escape(note)}</p>" for run in runs for note in run.notes),
        _splits(runs),
        f"<h2>Curves</h2><p>{_signs(panels)}</p>",
        '<div class="panels">',
        *(f"<figure><h3>{escape(panel.title)}</h3>{svg(panel, x_title)}</figure>" for panel in panels),
        "</div>",
        _samples(samples),
        _configuration(runs),
        "</main></body></html>\n",
    ]
    return "\n".join(part for part in parts if part)


def _signs(panels: Sequence[Panel]) -> str:
    """What the marks in the pictures mean, of those that are there."""
    parts = {curve.part for panel in panels for curve in panel.curves}
    said = {
        "Solid: training.": "" in parts,
        "Dashed with dots: held-out data.": bool(parts - {"", TEST}),
        "Ring: the test file.": TEST in parts,
        "Dotted upright: the run was resumed.": any(panel.resumes for panel in panels),
        "Triangle: an update whose loss or gradient was not finite was skipped.": any(p.skipped for p in panels),
    }
    return " ".join(text for text, is_there in said.items() if is_there) or "Nothing has been reported yet."


def _legend(runs: Sequence[RunLog]) -> str:
    names = (f'<span class="c{n % COLOURS}">{escape(run.name)}</span>' for n, run in enumerate(runs))
    return f'<div class="legend">{"".join(names)}</div>' if len(runs) > 1 else ""


def _columns(found: Sequence[Mapping[str, str]]) -> list[tuple[str, list[str]]]:
    names = dict.fromkeys(name for values in found for name in values)
    return [(name, [values.get(name, "-") for values in found]) for name in names]


def _table(corner: str, heads: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in (corner, *heads))
    body = "".join(
        f"<tr><th>{escape(name)}</th>{''.join(f'<td>{escape(value)}</td>' for value in values)}</tr>"
        for name, values in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _splits(runs: Sequence[RunLog]) -> str:
    parts = []
    for run in runs:
        split = time_split(run)
        total = sum(split.values())
        bars = "".join(
            f'<i class="{SPLIT_COLOURS[name]}" style="width:{seconds / total:.2%};background:var(--c)" '
            f'title="{name}: {seconds:,.0f} s"></i>'
            for name, seconds in split.items()
        )
        if bars:
            parts.append(f'<h3>{escape(run.name)}</h3><div class="bar">{bars}</div>')
    if not parts:
        return ""
    names = "".join(f'<span class="{colour}">{name}</span>' for name, colour in SPLIT_COLOURS.items())
    return f'<h2>Where the time went</h2><div class="legend">{names}</div>{"".join(parts)}'


def _samples(samples: Samples) -> str:
    blocks = []
    for asked, answers in samples:
        lines = "".join(
            f"<p><b>{escape(run)}</b>{chr(10) if chr(10) in answer else ' '}{escape(answer)}</p>"
            for run, answer in answers
        )
        blocks.append(f'<div class="sample"><h3>{escape(asked)}</h3>{lines}</div>')
    return "<h2>Samples</h2>" + "".join(blocks) if blocks else ""


def _configuration(runs: Sequence[RunLog]) -> str:
    heads = [run.name for run in runs]
    parts = []
    if len(runs) > 1:
        rows = differences(runs)
        told = _table("option", heads, rows) if rows else "<p>The runs have the same options.</p>"
        parts.append(f"<h2>What differs</h2>{told}")
    whole = _table("option", heads, _columns([run.configuration for run in runs]))
    return "".join([*parts, f"<details><summary>All options that were given</summary>{whole}</details>"])
