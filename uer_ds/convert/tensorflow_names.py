"""Original TensorFlow checkpoints of BERT and ALBERT under the names of Hugging Face; needs tensorflow installed.

A checkpoint is a prefix (`bert_model.ckpt`) with an `.index` file and data files, its configuration a JSON beside it.
Kernels are transposed; optimizer slots are left out.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import torch

from uer_ds.errors import UserError
from uer_ds.storage.files import read_json_object
from uer_ds.storage.lazy import LazyTensor

CONFIG_FILES = ("bert_config.json", "albert_config.json")
NOT_WEIGHTS = re.compile(r"(^|/)(global_step|beta[12]_power)$|/(adam|lamb|AdamWeightDecayOptimizer|LAMB).*$")
RENAMES = (
    (r"^albert/", "bert/"),
    (r"/kernel$", "/weight"),
    (r"/gamma$", "/weight"),
    (r"/beta$", "/bias"),
    (r"_embeddings$", "_embeddings/weight"),
    (r"^cls/seq_relationship/output_weights$", "cls/seq_relationship/weight"),
    (r"^cls/seq_relationship/output_bias$", "cls/seq_relationship/bias"),
    (r"^cls/predictions/output_bias$", "cls/predictions/bias"),
    (r"/layer_(\d+)/", r"/layer/\1/"),
)
ALBERT_LAYER = "bert/encoder/transformer/group_0/inner_group_0/"
ALBERT_RENAMES = (
    (rf"^{ALBERT_LAYER}", "bert/encoder/albert_layer_groups/0/albert_layers/0/"),
    (r"/attention_1/self/", "/attention/"),
    (r"/attention_1/output/dense/", "/attention/dense/"),
    (r"/ffn_1/intermediate/output/dense/", "/ffn_output/"),
    (r"/ffn_1/intermediate/dense/", "/ffn/"),
    (r"/0/LayerNorm/", "/0/attention/LayerNorm/"),
    (r"/0/LayerNorm_1/", "/0/full_layer_layer_norm/"),
    (r"^bert/pooler/dense/", "bert/pooler/"),
    (r"^cls/predictions/transform/", "predictions/"),
    (r"^cls/predictions/", "predictions/"),
    (r"^cls/seq_relationship/", "sop_classifier/classifier/"),
    (r"^bert/", "albert/"),
)


def tensorflow_prefix(path: Path) -> Path | None:
    """The prefix of the checkpoint that `path` (a prefix, its index or a folder) names; None: there is none."""
    if path.suffix == ".index" and path.is_file():
        return path.with_suffix("")
    if Path(f"{path}.index").is_file():
        return path
    indexes = sorted(path.glob("*.index")) if path.is_dir() else []
    return indexes[0].with_suffix("") if len(indexes) == 1 else None


def read_tensorflow(prefix: Path) -> tuple[dict[str, LazyTensor], dict[str, Any], Path | None]:
    """Tensors under Hugging Face's names, their configuration and the file it was in."""
    reader = _open(prefix)
    variables = {
        name: shape for name, shape in reader.get_variable_to_shape_map().items() if not NOT_WEIGHTS.search(name)
    }
    is_albert = any(ALBERT_LAYER in name for name in variables)
    tensors = {}
    for name, shape in variables.items():
        transposed = name.endswith("/kernel")
        read = functools.partial(_read, reader, name, transposed)
        tensors[huggingface_name(name, is_albert)] = LazyTensor(
            tuple(shape[::-1] if transposed else shape), torch.float32, read
        )
    config_path = next((path for name in CONFIG_FILES if (path := prefix.with_name(name)).is_file()), None)
    config = read_json_object(config_path) if config_path else {}
    return tensors, {**config, "model_type": "albert" if is_albert else "bert"}, config_path


def huggingface_name(name: str, is_albert: bool) -> str:
    """The name of a TensorFlow variable in a Hugging Face model."""
    for pattern, replacement in (*RENAMES, *(ALBERT_RENAMES if is_albert else ())):
        name = re.sub(pattern, replacement, name)
    return name.replace("/", ".")


def _open(prefix: Path) -> Any:
    try:
        import tensorflow  # type: ignore[import-untyped]
    except ImportError:
        raise UserError(
            f"{prefix}: is a TensorFlow checkpoint, and tensorflow is not installed; `pip install tensorflow-cpu`."
        ) from None
    try:
        return tensorflow.train.load_checkpoint(str(prefix))
    except (ValueError, tensorflow.errors.OpError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{prefix}: cannot be read as a TensorFlow checkpoint ({reason}).") from None


def _read(reader: Any, name: str, transposed: bool) -> torch.Tensor:
    tensor = torch.from_numpy(reader.get_tensor(name)).float()
    return tensor.t().contiguous() if transposed else tensor
