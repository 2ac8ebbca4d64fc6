"""The Hugging Face folder inside a result folder, where `transformers` has the same model and head.

`AutoModelForSequenceClassification.from_pretrained(OUTPUT/huggingface)` and the like read it, with label names and a
tokenizer.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from uer_ds.convert.converter import convert
from uer_ds.errors import UserError
from uer_ds.finetune.result import HUGGINGFACE_FOLDER
from uer_ds.finetune.task import Task


def export_result(output: Path, task: Task, options: Any) -> str:
    """Write the folder beside the result in `output`; returns a line about it, also when there can be none."""
    folder = output / HUGGINGFACE_FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    reason = f"transformers has no head like this one of {task.name}"
    if task.exported(options):
        try:
            convert(output, folder, "huggingface", verify=False, force=True)
            return f"exported   {folder}, for AutoModel and AutoTokenizer of transformers"
        except UserError as error:
            reason = str(error).removeprefix(f"{output}: ").removesuffix(".")
    return f"exported   no folder for transformers: {reason}"
