"""Where fine-tuning begins: tokenizers and models from every kind of checkpoint, and options that mean nothing here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from uer_ds.config.data import TokenizerConfig
from uer_ds.config.finetune import PredictPaths, PredictRun
from uer_ds.config.model import model_config_from_dict
from uer_ds.convert.converter import convert
from uer_ds.convert.tokenizer_files import save_tokenizer
from uer_ds.errors import UserError
from uer_ds.finetune.encode import Encoded
from uer_ds.finetune.examples import Example
from uer_ds.finetune.infer import Predictor
from uer_ds.finetune.material import pairs_without_segments
from uer_ds.finetune.start import Start, find_start
from uer_ds.models.model import build_model
from uer_ds.models.weights import load_tensors, save_weights
from uer_ds.registry import TASKS
from uer_ds.tokenizers import load_tokenizer

TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"天地人书好坏不我ab"]
BODY = {
    "emb_size": 16,
    "hidden_size": 16,
    "feedforward_size": 32,
    "heads_num": 2,
    "layers_num": 2,
    "max_seq_length": 16,
    "embedding": ["word", "pos", "seg"],
    "encoder": "transformer",
    "mask": "fully_visible",
    "vocab_size": len(TOKENS),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vocabulary, and a masked language model as UER's file with its JSON, as a run's folder, as Hugging Face's."""
    folder = tmp_path_factory.mktemp("start")
    (folder / "vocab.txt").write_text("\n".join(TOKENS) + "\n", "utf-8")
    config = model_config_from_dict({**BODY, "target": ["mlm"], "tie_weights": True})
    torch.manual_seed(0)
    weights = dict(build_model(config).named_parameters(remove_duplicate=False))
    save_weights({name: tensor.detach() for name, tensor in weights.items()}, folder / "bert.bin")
    (folder / "bert.json").write_text(json.dumps(BODY))
    checkpoint = folder / "run" / "checkpoint-20"
    checkpoint.mkdir(parents=True)
    save_weights({name: tensor.detach() for name, tensor in weights.items()}, checkpoint / "model.safetensors")
    (checkpoint / "config.json").write_text(json.dumps(config.to_dict()))
    (checkpoint / "state.json").write_text("{}")
    save_tokenizer(checkpoint, load_tokenizer("bert", folder / "vocab.txt"))
    convert(folder / "run", folder / "theirs", "huggingface", verify=False)
    return folder


def begin(
    task: str, pretrained: Path, config: Path | None = None, vocabulary: Path | None = None, **given: Any
) -> Start:
    options = TokenizerConfig(vocab_path=str(vocabulary)) if vocabulary else TokenizerConfig()
    path = str(config) if config else None
    return find_start(TASKS[task], str(pretrained), path, given, options, vocabulary is not None)


@pytest.mark.parametrize("name", ["run", "theirs"])
def test_folders_bring_their_tokenizer(folder: Path, name: str) -> None:
    start = begin("classifier", folder / name)
    assert start.tokenizer.encode("天A").tolist() == [5, 13] and start.tokenizer.kind == "bert"
    assert begin("ner", folder / name).tokenizer.encode("天 地A").tolist() == [5, 1]
    assert begin("cmrc", folder / name).tokenizer.kind == "char"


def test_their_folders_tell_case_and_may_have_a_tokenizer_json_only(folder: Path, tmp_path: Path) -> None:
    theirs = shutil.copytree(folder / "theirs", tmp_path / "theirs")
    said = json.loads((theirs / "tokenizer_config.json").read_text())
    (theirs / "tokenizer_config.json").write_text(json.dumps({**said, "do_lower_case": False}))
    assert begin("classifier", theirs).tokenizer.encode("A").tolist() == [1]
    (theirs / "vocab.txt").unlink()
    (theirs / "tokenizer_config.json").unlink()
    start = begin("classifier", theirs)
    assert start.tokenizer.encode("天A").tolist() == [5, 13] and start.tokenizer.vocabulary.source == str(theirs)
    (theirs / "tokenizer.json").unlink()
    with pytest.raises(UserError, match="no vocabulary came with these weights"):
        begin("classifier", theirs)


@pytest.mark.parametrize("name", ["bert.bin", "run", "theirs"])
def test_both_streams_start_from_one_encoder(folder: Path, tmp_path: Path, name: str) -> None:
    stream = {key: value for key, value in BODY.items() if key != "vocab_size"}
    pair = {"stream_0": stream, "stream_1": stream, "embedding": ["dual"], "encoder": "dual", "pooling": "mean"}
    (tmp_path / "pair.json").write_text(json.dumps({**pair, "tie_weights": True}))
    start = begin("siamese", folder / name, tmp_path / "pair.json", folder / "vocab.txt")
    assert start.config.encoder == "dual" and start.config.tie_weights and start.config.pooling == "mean"
    model = build_model(start.config)
    load_tensors(model, {name: tensor.read for name, tensor in start.source.items()}, folder)
    plain = begin("classifier", folder / "bert.bin", folder / "bert.json", folder / "vocab.txt")
    alone = build_model(plain.config)
    load_tensors(alone, {name: tensor.read for name, tensor in plain.source.items()}, folder)
    ids = torch.tensor([[2, 5, 6, 3]])
    model.eval(), alone.eval()
    # Exact up to the epsilon of the norm that a stream has besides, which here does nothing.
    for stream_output in model.encode_streams(_twice(ids)):
        torch.testing.assert_close(stream_output, alone.encode(ids, torch.ones_like(ids)), atol=1e-4, rtol=0)
    wide = {**stream, "feedforward_size": 64}
    (tmp_path / "pair.json").write_text(json.dumps({**pair, "stream_0": wide, "stream_1": wide}))
    with pytest.raises(UserError, match="feedforward_size is 64, but the tensors have 32"):
        begin("siamese", folder / name, tmp_path / "pair.json", folder / "vocab.txt")


def _twice(ids: torch.Tensor) -> Any:
    from uer_ds.data.batch import Batch

    one = Batch(ids, torch.ones_like(ids))
    return Batch(one.ids, one.segments, second=one)


def test_options_without_effect_are_said_and_others_refused(folder: Path) -> None:
    start = begin("classifier", folder / "run", target=("mlm",), decoder="transformer")
    assert [note.split()[0] for note in start.notes] == ["--target", "--decoder"] and not start.config.decoder
    assert not begin("prompt", folder / "run", target=("mlm",)).notes
    with pytest.raises(UserError, match="--labels_num is for pre-training"):
        begin("classifier", folder / "run", labels_num=3)


def test_a_causal_model_is_pooled_where_it_has_seen_the_text(folder: Path) -> None:
    start = begin("classifier", folder / "run", mask="causal")
    assert start.config.pooling == "last" and "last" in start.notes[0]
    asked = begin("classifier", folder / "run", mask="causal", pooling="first")
    assert asked.config.pooling == "first" and "all texts will look the same" in asked.notes[0]


def test_pairs_for_a_model_without_segments_are_said() -> None:
    text, pair = (Example((Encoded(np.zeros(4, dtype=np.int32), first, 8),), None) for first in (4, 2))
    with_segments = model_config_from_dict({**BODY, "target": []})
    without = model_config_from_dict({**BODY, "target": [], "embedding": ["word", "pos"]})
    assert "no segment embedding" in pairs_without_segments(without, [text, pair])[0]
    assert not pairs_without_segments(with_segments, [text, pair]) and not pairs_without_segments(without, [text])


def test_the_head_tells_the_number_of_classes(folder: Path, tmp_path: Path) -> None:
    config = model_config_from_dict({**BODY, "target": []})
    weights = {name: p.detach() for name, p in build_model(config).named_parameters()}
    head = {"output_layer_1.weight": (16, 16), "output_layer_1.bias": (16,)}
    head |= {"output_layer_2.weight": (3, 16), "output_layer_2.bias": (3,)}
    save_weights({**weights, **{name: torch.zeros(shape) for name, shape in head.items()}}, tmp_path / "model.bin")

    def predictor(path: Path, seq_length: int | None = None, **more: Any) -> Predictor:
        paths = PredictPaths(str(path), "in", "out", str(folder / "bert.json"), seq_length=seq_length)
        return Predictor(
            PredictRun("classifier", paths, TokenizerConfig(vocab_path=str(folder / "vocab.txt")), **more), True
        )

    assert predictor(tmp_path / "model.bin").labels.names == ("0", "1", "2")
    with pytest.raises(UserError, match=r"--labels_num is 4, but .* has 3 classes"):
        predictor(tmp_path / "model.bin", labels_num=4)
    with pytest.raises(UserError, match="--seq_length is 17, but the model's position table has 16 rows"):
        predictor(tmp_path / "model.bin", seq_length=17)
    with pytest.raises(UserError, match="has no head, so it was not fine-tuned for classifier"):
        predictor(folder / "bert.bin")
