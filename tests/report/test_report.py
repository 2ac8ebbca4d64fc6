"""The report of runs: numbers on the page are the journal's; torn files; several runs; a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from uer_ds.cli.main import main
from uer_ds.report.charts import labels, short, ticks
from uer_ds.report.figures import POINTS, panels, summary, time_split
from uer_ds.report.pictures import CHINESE
from uer_ds.report.read import differences, read_runs

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
VOID = {"meta", "br", "hr", "img", "input", "link"}


def line(update: int, **more: Any) -> dict[str, Any]:
    values = {"update": update, "total_updates": 300, "tokens": 1000 * update, "loss": 9 - update / 60}
    values |= {"accuracy": update / 1000, "learning_rate": 1e-3, "tokens_per_second": 5000.0 + update}
    values |= {"grad_norm": 1.5, "memory_gb": 1 + update / 1e4, "skipped_updates": int(update == 150)}
    return {**values, "seconds": 2.0, "seconds_for_data": 0.5, "seconds_paused": 0.25, **more}


def write(path: Path, lines: list[dict[str, Any]], end: str = "") -> None:
    path.write_text("".join(json.dumps(values) + "\n" for values in lines) + end, encoding="utf-8")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    found = [folder / "基线" / "run", folder / "<b>other" / "run"]
    for number, run in enumerate(found):
        run.mkdir(parents=True)
        write(run / "metrics.jsonl", [line(update, loss=8 - update / 60 + number) for update in range(10, 301, 10)])
        write(
            run / "evaluations.jsonl", [{"update": u, "tokens": 1000 * u, "loss": 8.5 - u / 75} for u in (0, 150, 300)]
        )
        write(run / "starts.jsonl", [{"update": u, "time": 1.7e9 + u} for u in (0, 120)[: 2 - number]])
        values = {"model": {"hidden_size": 128}, "optim": {"learning_rate": 1e-3 * (1 + number)}}
        (run / "run.json").write_text(json.dumps(values))
    write(found[0] / "non_finite.jsonl", [{"update": 150, "what": "loss", "samples": []}])
    return found


class Checker(HTMLParser):
    """Every element is closed in order; nothing is fetched from anywhere."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "img", "iframe")
        assert not {name for name, _ in attrs} & {"src", "href"}
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(runs: list[Path]) -> Path:
    output = runs[0].parents[1] / "report.html"
    assert main(["report", *map(str, runs), "--output_path", str(output)]) == 0
    return output


def test_the_page_is_whole_and_alone(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    Checker(text)
    assert "http" not in text and "url(" not in text
    assert "基线/run" in text and "&lt;b&gt;other/run" in text and "<b>other" not in text
    assert text.count("<svg") == 6 and text.count("<title>resumed</title>") == 6
    assert text.count("<title>skipped update</title>") == 12


def test_numbers_are_the_journals(runs: list[Path], page: Path) -> None:
    first, second = read_runs([str(run) for run in runs])
    shown = {panel.title: panel for panel in panels([first, second], "update")}
    loss = shown["Loss"].curves
    assert [(curve.run, curve.held_out) for curve in loss] == [(0, False), (1, False), (0, True), (1, True)]
    assert loss[1].points == [(update, 8 - update / 60 + 1) for update in range(10, 301, 10)]
    assert loss[2].points == [(0, 8.5), (150, 6.5), (300, 4.5)]
    assert shown["Loss"].resumes == [(0, 120.0)] and shown["Loss"].skipped == [(0, 150.0), (1, 150.0)]
    assert {panel.span for panel in shown.values()} == {(0.0, 300.0)}
    by_tokens = panels([first], "tokens")[0]
    assert by_tokens.curves[0].points[0][0] == 10_000 and by_tokens.resumes == [(0, 120_000.0)]
    assert time_split(first) == {"training": 45.0, "waiting for data": 15.0, "evaluating and saving": 7.5}
    told, text = summary(first), page.read_text(encoding="utf-8")
    assert told["loss"] == "7.8333 → 3.0000" and told["held-out loss, first → best"] == "8.5000 → 4.5000"
    assert told["resumed at update"] == "120" and told["updates skipped"] == "1"
    assert told["time waiting for data"] == "15 s (22%)"
    assert all(f"<td>{value}</td>" in text for value in told.values())
    assert differences([first, second]) == [("optim.learning_rate", ["0.001", "0.002"])]
    assert "<th>optim.learning_rate</th><td>0.001</td><td>0.002</td>" in text


def test_skipped_updates_that_are_only_counted_stand_at_their_report(tmp_path: Path) -> None:
    counts = {20: 2, 30: 1, 40: 1}
    write(tmp_path / "metrics.jsonl", [line(u, skipped_updates=counts.get(u, 0)) for u in range(10, 61, 10)])
    write(tmp_path / "non_finite.jsonl", [{"update": u} for u in (13, 17, 31)])
    (run,) = read_runs([str(tmp_path)])
    assert run.skipped == [13, 17, 30, 31] and summary(run)["updates skipped"] == "4"


def test_scores_of_fine_tuning_stand_apart_by_file(tmp_path: Path) -> None:
    write(tmp_path / "metrics.jsonl", [line(update) for update in (10, 20)])
    scores = [("dev", 10, 0.5), ("dev", 20, 0.75), ("test", 20, 0.875)]
    lines = [{"part": part, "update": u, "tokens": 1000 * u, "accuracy": v, "f1": v} for part, u, v in scores]
    write(tmp_path / "evaluations.jsonl", lines)
    (run,) = read_runs([str(tmp_path)])
    shown = {panel.title: panel.curves for panel in panels([run], "update")}
    assert [(curve.part, curve.points) for curve in shown["F1"]] == [
        ("dev", [(10, 0.5), (20, 0.75)]),
        ("test", [(20, 0.875)]),
    ]
    told = summary(run)
    assert told["dev f1, best"] == "0.7500" and told["test f1"] == "0.8750" and "held-out f1, best" not in told
    assert main(["report", str(tmp_path), "--output_path", str(tmp_path / "r.html")]) == 0
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Ring: the test file." in text and "test 0.875 at 20" in text and "the run was resumed" not in text


def test_long_curves_keep_their_peaks(runs: list[Path], tmp_path: Path) -> None:
    write(tmp_path / "metrics.jsonl", [line(update, loss=99.0 if update == 4321 else 1.0) for update in range(1, 9001)])
    curve = panels(read_runs([str(tmp_path)]), "update")[0].curves[0]
    assert len(curve.points) <= POINTS and (4321.0, 99.0) in curve.points
    assert [x for x, _ in curve.points] == sorted(x for x, _ in curve.points)


def test_torn_lines_are_noted_and_numbers_that_are_not_left_out(tmp_path: Path) -> None:
    write(tmp_path / "metrics.jsonl", [line(10, loss=None), line(20)], end='{"update": 30, "lo')
    assert main(["report", str(tmp_path), "--output_path", str(tmp_path / "r.html")]) == 0
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "metrics.jsonl: line 3 cannot be read and is left out" in text and "not finite → 8.6667" in text
    (tmp_path / "metrics.jsonl").write_text("")
    assert main(["report", str(tmp_path), "--output_path", str(tmp_path / "r.html")]) == 0
    assert "none reported yet" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_mistakes_are_named(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases = [
        ([str(tmp_path)], "has no metrics.jsonl"),
        ([str(runs[0]), str(runs[0])], "is named twice"),
        ([str(runs[0]), "--sample_path", str(runs[0] / "metrics.jsonl")], "has no checkpoint yet"),
    ]
    for words, said in cases:
        assert main(["report", *words, "--output_path", str(tmp_path / "r.html")]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "r.html").exists()


def test_pictures(runs: list[Path], tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    fonts = pytest.importorskip("matplotlib.font_manager").get_font_names()
    command = ["report", str(runs[0]), "--output_path", str(tmp_path / "r.html"), "--png_folder", str(tmp_path / "png")]
    assert main(command) == 0
    found = {path.name: path.read_bytes()[:8] for path in (tmp_path / "png").iterdir()}
    assert {"loss.png", "learning_rate.png"} < set(found) and set(found.values()) == {b"\x89PNG\r\n\x1a\n"}
    assert not set(CHINESE) & set(fonts) or not [said for said in recwarn if "Glyph" in str(said.message)]


def test_round_ticks_enclose_the_values() -> None:
    for low, high in ((0.0, 1.0), (3.2, 3.3), (-7.0, 12345.0), (2e-5, 2e-5), (0.0, 0.0), (1e-9, 1e-3)):
        found = ticks([low, high], 5)
        assert found[0] <= low + 1e-12 and found[-1] >= high - 1e-12 and 2 <= len(found) <= 9
    assert labels(ticks([0.61231, 0.61234], 5))[:2] == ["0.61231", "0.61232"]
    assert labels([1e6, 1e6 + 0.5]) == ["1M", "1.0000005M"]
    assert [short(value) for value in (0, 0.002, 3e-5, 40_000, 1_200_000)] == ["0", "0.002", "3e-05", "40k", "1.2M"]


@pytest.mark.skipif(BROWSER is None, reason="no chromium")
@pytest.mark.parametrize("width", [390, 1280])
def test_a_real_browser_shows_it(width: int, page: Path, tmp_path: Path) -> None:
    imread = pytest.importorskip("matplotlib.image").imread
    # A window of chromium is 500 wide at least: a frame of the wanted width stands for the phone.
    outer, picture = page.with_name(f"outer-{width}.html"), tmp_path / "page.png"
    outer.write_text(
        f'<body style="margin:0"><iframe src="{page.name}" width={width} height=2400 style="border:0"></iframe>'
        "<pre id=told></pre><script>const f=document.querySelector('iframe');f.onload=()=>{"
        "told.textContent='wide '+f.contentDocument.documentElement.scrollWidth}</script>"
    )
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
    flags += [f"--user-data-dir={tmp_path}/user", f"--window-size={max(500, width)},2400"]
    command = [str(BROWSER), *flags, f"--screenshot={picture}", "--dump-dom", outer.as_uri()]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    pixels = imread(picture)[:, :width, :3]
    assert pixels.std() > 0.05 and (pixels != pixels[0, 0]).any(axis=2).any(axis=1).mean() > 0.3
    told = re.search(r"wide (\d+)", done.stdout)
    assert told and int(told[1]) <= width
