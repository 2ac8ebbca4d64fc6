"""UER-py's numbers for the tests of this folder: families, their batches, the losses they were made with.

Most families lie under `tests/golden/models`; the rest, left out for their size, in `../shared/golden/models`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from uer_ds.config.model import ModelConfig, model_config_from_dict
from uer_ds.data.batch import IGNORE, Batch

ROOT = Path(__file__).resolve().parents[2]
HERE, SHARED = ROOT / "tests" / "golden" / "models", ROOT.parent / "shared" / "golden" / "models"
FOLDERS = (HERE, SHARED)

FAMILIES = sorted({path.name for folder in FOLDERS if folder.is_dir() for path in folder.iterdir()})

NORMS = {"uer": "uer_layernorm", "normal": "standard_layernorm"}
"""`layernorm` of a model JSON -> its name in the golden files."""


@dataclass(frozen=True)
class Family:
    """One golden folder, with one of the two layer norms."""

    folder: Path
    norm: str

    @cached_property
    def meta(self) -> dict[str, Any]:
        return json.loads((self.folder / "meta.json").read_text())

    @cached_property
    def io(self) -> dict[str, Tensor]:
        standard = self.folder / "io_standard_layernorm.safetensors"
        same_in_both = not self.meta["has_uer_layernorm"]
        return load_file(self.folder / "io.safetensors" if self.norm == "uer" or same_in_both else standard)

    @cached_property
    def grad_norms(self) -> dict[str, float]:
        return json.loads((self.folder / "grad_norms.json").read_text())[NORMS[self.norm]]

    @property
    def weights(self) -> Path:
        return self.folder / "model.safetensors"

    def config(self, **changes: Any) -> ModelConfig:
        values = json.loads((self.folder / "config.json").read_text())
        if "layernorm" not in values:
            values["layernorm"] = self.norm
        return model_config_from_dict({**values, **changes})

    def batch(self) -> Batch:
        """Inputs and labels as this program wants them."""
        io = self.io
        if self.meta["kind"] == "siamese":
            return Batch(io["src_0"], io["seg_0"], second=Batch(io["src_1"], io["seg_1"]))
        decoder = Batch(io["tgt_in"], io["tgt_seg"]) if "tgt_in" in io else None
        return Batch(io["src"], io["seg"], labels=self._labels(), decoder=decoder)

    def _labels(self) -> dict[str, Tensor]:
        io, target = self.io, self.config().target
        segments = io.get("tgt_seg", io["seg"])
        only = 1 if self.config().prefix_lm_loss else 0
        labels = {}
        for name in target:
            if name == "bilm":
                labels["bilm_forward"] = torch.where(segments > 0, io["tgt_forward"], IGNORE)
                labels["bilm_backward"] = torch.where(segments > 0, io["tgt_backward"], IGNORE)
                continue
            gold = io.get(f"tgt_{name}", io.get("tgt"))
            assert gold is not None
            if name == "mlm":
                gold = torch.where(gold > 0, gold, IGNORE)
            elif name == "lm":
                gold = torch.where(segments > only, gold, IGNORE)
                if self.config().ignore_index:
                    gold = gold.masked_fill(gold == self.meta["padding_id"], IGNORE)
            labels[name] = gold
        return labels

    def golden_name(self, kind: str, label: str) -> str:
        """The name of a number in the golden file: `loss_mlm` where there are two tasks, else `loss`."""
        short = label.removeprefix("bilm_")
        return f"{kind}_{short}" if f"{kind}_{short}" in self.io else kind

    def denominator(self, label: str) -> float:
        """What UER-py divides a summed loss by."""
        name = self.golden_name("denominator", label)
        return float(self.io[name]) if name in self.io and label not in ("sp", "cls") else len(self.batch().ids)


def family(name: str, norm: str) -> Family:
    """The golden folder of `name`."""
    return Family(next(folder / name for folder in FOLDERS if (folder / name).is_dir()), norm)
