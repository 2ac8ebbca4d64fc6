"""Names that users write -> the classes behind them.

Each table maps a name to "module:Class". Nothing is imported until a class is asked for, so the command line can list
choices in milliseconds and preprocessing never imports torch. To add a part: write its file, add its line here;
for an objective its record in `uer_ds.objective_specs`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from uer_ds.errors import unknown_name
from uer_ds.objective_specs import OBJECTIVE_SPECS


class Registry(Mapping[str, Any]):
    """A read-only table of names and lazily imported classes.

    `registry["transformer"]` gives the class; an unknown name raises `UserError` with the nearest choice.
    """

    def __init__(self, kind: str, targets: dict[str, str]):
        self.kind = kind
        self._targets = dict(targets)

    def __getitem__(self, name: str) -> Any:
        self.check(name)
        module_name, attribute = self._targets[name].split(":")
        return getattr(importlib.import_module(module_name), attribute)

    def check(self, name: str, where: str = "") -> str:
        """Return `name` when it is known; otherwise raise `UserError`, naming `where` it was found."""
        if name not in self._targets:
            raise unknown_name(self.kind, name, self._targets, where)
        return name

    def __contains__(self, name: object) -> bool:
        return name in self._targets

    def __iter__(self) -> Iterator[str]:
        return iter(self._targets)

    def __len__(self) -> int:
        return len(self._targets)


TOKENIZERS = Registry(
    "tokenizer",
    {
        "bert": "uer_ds.tokenizers.bert:load",
        "bpe": "uer_ds.tokenizers.bpe:load",
        "char": "uer_ds.tokenizers.lookup:load_char",
        "space": "uer_ds.tokenizers.lookup:load_space",
        "xlmroberta": "uer_ds.tokenizers.spm:load_xlmroberta",
    },
)

EMBEDDINGS = Registry(
    "embedding",
    {
        "word": "uer_ds.models.embeddings:WordEmbedding",
        "pos": "uer_ds.models.embeddings:PositionEmbedding",
        "seg": "uer_ds.models.embeddings:SegmentEmbedding",
        "sinusoidalpos": "uer_ds.models.embeddings:SinusoidalEmbedding",
        "dual": "uer_ds.models.dual:DualEmbedding",
    },
)

ENCODERS = Registry(
    "encoder",
    {
        "transformer": "uer_ds.models.transformer:TransformerEncoder",
        "rnn": "uer_ds.models.recurrent:RnnEncoder",
        "lstm": "uer_ds.models.recurrent:LstmEncoder",
        "gru": "uer_ds.models.recurrent:GruEncoder",
        "birnn": "uer_ds.models.recurrent:BirnnEncoder",
        "bilstm": "uer_ds.models.recurrent:BilstmEncoder",
        "bigru": "uer_ds.models.recurrent:BigruEncoder",
        "gatedcnn": "uer_ds.models.gatedcnn:GatedcnnEncoder",
        "dual": "uer_ds.models.dual:DualEncoder",
    },
)

DECODERS = Registry("decoder", {"transformer": "uer_ds.models.transformer:TransformerDecoder"})

TARGETS = Registry(
    "target",
    {
        "mlm": "uer_ds.models.targets:MlmTarget",
        "sp": "uer_ds.models.targets:SpTarget",
        "lm": "uer_ds.models.targets:LmTarget",
        "bilm": "uer_ds.models.targets:BilmTarget",
        "cls": "uer_ds.models.targets:ClsTarget",
    },
)

OBJECTIVES = Registry("data_processor", {name: spec.path for name, spec in OBJECTIVE_SPECS.items()})

TASKS = Registry(
    "task",
    {
        "classifier": "uer_ds.finetune.tasks.classifier:TASK",
        "classifier_mt": "uer_ds.finetune.tasks.classifier_mt:TASK",
        "multi_label": "uer_ds.finetune.tasks.multi_label:TASK",
        "regression": "uer_ds.finetune.tasks.regression:TASK",
        "dbqa": "uer_ds.finetune.tasks.dbqa:TASK",
        "ner": "uer_ds.finetune.tasks.ner:TASK",
        "prompt": "uer_ds.finetune.tasks.prompt:TASK",
        "siamese": "uer_ds.finetune.tasks.siamese:TASK",
        "simcse": "uer_ds.finetune.tasks.simcse:TASK",
        "text2text": "uer_ds.finetune.tasks.text2text:TASK",
        "c3": "uer_ds.finetune.tasks.c3:TASK",
        "chid": "uer_ds.finetune.tasks.chid:TASK",
        "cmrc": "uer_ds.finetune.tasks.cmrc:TASK",
    },
)
"""Kinds of fine-tuning."""
