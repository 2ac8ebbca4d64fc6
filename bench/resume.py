"""Every pairing of ZeRO stage, offload and number of processes (1, 2): a checkpoint of one is continued by the other.

python bench/resume.py [FOLDER]      prints a table of the largest relative difference of a loss in the twenty updates
                                     after the change to the run that was never stopped, and writes resume_bench.json

fp32, no dropout, the small model of the tests; also says whether weights, moments and step numbers arrived bit for
bit. 157 short trainings: about eight minutes on two cores.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.runs.conftest import make_material
from tests.runs.pairings import carried_exactly, continued, largest_difference, launch, parts, undisturbed, written

ENGINES = ("zero0", "zero1", "zero2", "zero2_offload", "zero3", "zero3_offload")
DIVISIONS = [f"{ranks}:{engine}" for ranks in (1, 2) for engine in ENGINES]


def main(folder: Path) -> None:
    """Train everything in four launches, then compare."""
    material = folder / "material"
    material.mkdir()
    make_material(material)
    for ranks in (1, 2):
        entries = [written(material, folder, division) for division in DIVISIONS if parts(division)[0] == ranks]
        launch(folder, ranks, entries + ([undisturbed(material, folder)] if ranks == 2 else []), f"{ranks}")
    for ranks in (1, 2):
        pairs = [(before, now) for before in DIVISIONS for now in DIVISIONS if parts(now)[0] == ranks]
        launch(folder, ranks, [continued(material, folder, *pair) for pair in pairs], f"{ranks}-again")
    results = {
        before: {
            now: (largest_difference(folder, before, now), carried_exactly(folder, before, now)) for now in DIVISIONS
        }
        for before in DIVISIONS
    }
    Path("resume_bench.json").write_text(json.dumps(results, indent=1))
    print_table(results)


def print_table(results: dict[str, dict[str, tuple[float, bool]]]) -> None:
    """Markdown: one row for each writer, one column for each reader."""
    print("| written by \\ continued by |", " | ".join(DIVISIONS), "|")
    print("|---" * (len(DIVISIONS) + 1) + "|")
    for before, row in results.items():
        cells = [f"{difference:.0e}{'' if exact else ' (state not exact)'}" for difference, exact in row.values()]
        print(f"| {before} |", " | ".join(cells), "|")
    values = [value for row in results.values() for value in row.values()]
    print(f"\n{len(values)} pairings: largest difference {max(value for value, _ in values):.1e}; ", end="")
    print(f"state bit for bit in {sum(exact for _, exact in values)}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
