"""Files of weights: every era's names, every container, and what does not fit is refused by name."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.models.golden_families import family
from uer_ds.errors import UserError
from uer_ds.models.model import Model, build_model
from uer_ds.models.old_names import present_names
from uer_ds.models.weights import load_weights, save_weights


def model_of(name: str, **changes: object) -> Model:
    return build_model(family(name, "normal").config(**changes))


def state_of(name: str) -> dict[str, Tensor]:
    return load_file(family(name, "normal").weights)


def assert_loaded(model: Model, wanted: dict[str, Tensor]) -> None:
    for name, value in model.state_dict().items():
        assert torch.equal(value, wanted[name]), name


def write_bin(path: Path, state: dict[str, Tensor]) -> None:
    torch.save(OrderedDict(state), path)


def write_old_bin(path: Path, state: dict[str, Tensor]) -> None:
    """As torch wrote before version 1.6: no zip archive, so it cannot be mapped."""
    torch.save(OrderedDict(state), path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("write", [write_bin, write_old_bin, lambda path, state: save_weights(state, path)])
@pytest.mark.parametrize("suffix", ["bin", "safetensors"])
def test_containers(tmp_path: Path, write: Callable[[Path, dict[str, Tensor]], None], suffix: str) -> None:
    if suffix == "safetensors":
        write = lambda path, state: save_weights(state, path)  # noqa: E731
    wanted = state_of("bert")
    write(tmp_path / f"model.{suffix}", wanted)
    model = model_of("bert")
    load_weights(model, tmp_path / f"model.{suffix}")
    assert_loaded(model, wanted)


def test_checkpoint_folder_and_shards(tmp_path: Path) -> None:
    wanted = state_of("bert")
    folder, shards = tmp_path / "checkpoint", tmp_path / "shards"
    save_weights(wanted, folder / "model.safetensors")
    names = list(wanted)
    parts = {"a.bin": names[::2], "b.safetensors": names[1::2]}
    for file, held in parts.items():
        save_weights({name: wanted[name] for name in held}, shards / file)
    index = {"weight_map": {name: file for file, held in parts.items() for name in held}}
    (shards / "model.bin.index.json").write_text(json.dumps(index))
    for path in (folder, shards):
        model = model_of("bert")
        load_weights(model, path)
        assert_loaded(model, wanted)


def test_of_a_run_the_newest_checkpoint_is_read(tmp_path: Path) -> None:
    wanted = state_of("roberta")
    for number, shift in ((9, 1.0), (10, 0.0)):
        folder = tmp_path / f"checkpoint-{number}"
        save_weights({name: value + shift for name, value in wanted.items()}, folder / "model.safetensors")
        (folder / "state.json").write_text("{}")
    model = model_of("roberta")
    load_weights(model, tmp_path)
    assert_loaded(model, wanted)


def test_a_cloze_head_of_2021_is_an_mlm_head() -> None:
    names = ["target.linear_1.weight", "target.layer_norm.gamma", "embedding.word_embedding.weight"]
    assert [*present_names(names).values()] == [
        "target.mlm.linear_1.weight",
        "target.mlm.layer_norm.gamma",
        "embedding.word.embedding.weight",
    ]


@pytest.mark.parametrize("suffix", ["bin", "safetensors"])
def test_saving_keeps_every_name_of_a_tie(tmp_path: Path, suffix: str) -> None:
    model = model_of("bert")
    path = tmp_path / f"model.{suffix}"
    save_weights(model.state_dict(), path)
    again = model_of("bert", tie_weights=False)
    load_weights(again, path)
    assert_loaded(again, model.state_dict())
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_saving_writes_views_without_what_they_look_into(tmp_path: Path) -> None:
    save_weights({"row": torch.zeros(1000, 100)[0], "turned": torch.zeros(3, 2).T}, tmp_path / "small.bin")
    assert (tmp_path / "small.bin").stat().st_size < 5000


OLD_NAMES = {
    "bert": {
        "embedding.word.embedding.weight": "embedding.word_embedding.weight",
        "embedding.pos.embedding.weight": "embedding.position_embedding.weight",
        "embedding.seg.embedding.weight": "embedding.segment_embedding.weight",
        "target.mlm.linear_1.": "target.mlm_linear_1.",
        "target.mlm.linear_2.": "target.mlm_linear_2.",
        "target.mlm.layer_norm.": "target.layer_norm.",
        "target.sp.linear_": "target.nsp_linear_",
    },
    "albert": {"target.sp.linear_": "target.sop_linear_", "encoder.": "module.encoder."},
    "gpt2": {
        "embedding.word.embedding.weight": "embedding.word_embedding.weight",
        "target.lm.output_layer.": "target.output_layer.",
    },
    "bart": {
        "tgt_embedding.word.embedding.weight": "target.embedding.word_embedding.weight",
        "tgt_embedding.pos.embedding.weight": "target.embedding.position_embedding.weight",
        "tgt_embedding.layer_norm.": "target.embedding.layer_norm.",
        "decoder.": "target.decoder.",
        "target.lm.output_layer.": "target.output_layer.",
    },
    "t5_v1_1": {"tgt_embedding.word.embedding.weight": "tgt_embedding.word_embedding.weight"},
    "bilstm_bilm": {"target.bilm.output_layer.": "target.output_layer."},
    "cls_first": {"target.cls.linear_": "target.linear_"},
}


@pytest.mark.parametrize("name", OLD_NAMES)
def test_names_of_all_eras(tmp_path: Path, name: str) -> None:
    wanted = state_of(name)
    renamed = {}
    for key, value in wanted.items():
        for present, old in OLD_NAMES[name].items():
            if key.startswith(present):
                key = key.replace(present, old, 1)
                break
        renamed[key] = value
    assert renamed.keys() != wanted.keys()
    write_bin(tmp_path / "old.bin", renamed)
    model = model_of(name)
    load_weights(model, tmp_path / "old.bin")
    assert_loaded(model, wanted)


def test_old_names_of_two_streams() -> None:
    found = present_names(["embedding.embedding_0.word_embedding.weight", "embedding.embedding_1.layer_norm.gamma"])
    assert list(found.values()) == [
        "embedding.dual.embedding_0.word.embedding.weight",
        "embedding.dual.embedding_1.layer_norm.gamma",
    ]


def test_present_names_stay() -> None:
    for name in ("bert", "bart", "siamese_lstm", "bigru_bilm", "gatedcnn_lm"):
        assert all(old == new for old, new in present_names(state_of(name)).items())


def changed(name: str, remove: str = "", **added: Tensor) -> dict[str, Tensor]:
    return {key: value for key, value in state_of(name).items() if key != remove} | added


SEG = "embedding.seg.embedding.weight"


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (changed("bert", SEG), f"lacks {SEG}"),
        (changed("bert", x=torch.zeros(1)), "holds, but the model lacks, x"),
        (changed("bert", **{SEG: torch.zeros(2, 64)}), rf"'{SEG}' has shape \(2, 64\), but \(3, 64\)"),
        ({"bert.encoder.layer.0.weight": torch.zeros(1)}, "none of its 1 names"),
        ({}, "holds no plain state dict"),
        (changed("bert", **{"module." + SEG: torch.zeros(3, 64)}), "twice, under an old and a new name"),
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_what_does_not_fit_is_named(tmp_path: Path, state: dict[str, Tensor], words: str, strict: bool) -> None:
    path = tmp_path / "model.bin"
    write_bin(path, state)
    with pytest.raises(UserError, match=words) as caught:
        load_weights(model_of("bert"), path, strict=strict)
    assert str(caught.value).startswith(str(path))


def test_heads_may_be_missing_and_are_reported(tmp_path: Path) -> None:
    body = {name: value for name, value in state_of("roberta").items() if not name.startswith("target.")}
    write_bin(tmp_path / "model.bin", {**body, "target.sp.linear_1.bias": torch.zeros(64)})
    model = model_of("cls_first")
    report = load_weights(model, tmp_path / "model.bin", strict=False)
    assert report.unexpected == ("target.sp.linear_1.bias",)
    assert set(report.missing) == {name for name in model.state_dict() if name.startswith("target.")}
    with pytest.raises(UserError, match=r"lacks target\.cls"):
        load_weights(model, tmp_path / "model.bin")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty|has no safetensors header"),
        (b"\x80\x02garbage", "is truncated or damaged|something else than weights, or is damaged"),
        (b'{"a": 1}', "it is text beginning with|has no safetensors header"),
    ],
)
@pytest.mark.parametrize("suffix", ["bin", "safetensors"])
def test_damaged_files_are_named(tmp_path: Path, content: bytes, words: str, suffix: str) -> None:
    path = tmp_path / f"model.{suffix}"
    path.write_bytes(content)
    with pytest.raises(UserError, match=words):
        load_weights(model_of("roberta"), path)


def test_a_pickle_runs_no_code(tmp_path: Path) -> None:
    class Touch:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "touched",))  # type: ignore[return-value]

    torch.save({"x": Touch()}, tmp_path / "model.bin")
    with pytest.raises(UserError, match=r"asks to run .* and was refused and not run"):
        load_weights(model_of("roberta"), tmp_path / "model.bin")
    assert not (tmp_path / "touched").exists()


def test_other_contents_are_named(tmp_path: Path) -> None:
    torch.save([torch.zeros(1)], tmp_path / "list.bin")
    with pytest.raises(UserError, match="holds a list; expected a state dict"):
        load_weights(model_of("roberta"), tmp_path / "list.bin")
    with pytest.raises(UserError, match="no such file"):
        load_weights(model_of("roberta"), tmp_path / "absent.bin")
    with pytest.raises(UserError, match="no such file"):
        load_weights(model_of("roberta"), tmp_path / "absent.safetensors")
    with pytest.raises(UserError, match=r"has no weights; expected model\.safetensors"):
        load_weights(model_of("roberta"), tmp_path / "..")


def test_a_failed_save_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"before")

    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("uer_ds.storage.writers.raw_bytes", fail)
    with pytest.raises(OSError, match="no space"):
        save_weights(state_of("roberta"), path)
    assert path.read_bytes() == b"before"
    assert [p.name for p in tmp_path.iterdir()] == ["model.bin"]


def test_sinusoids_of_2021_need_their_layout(tmp_path: Path) -> None:
    state = changed("bert_sinusoidalpos", **{"embedding.pe": torch.zeros(64, 1, 64)})
    write_bin(tmp_path / "model.bin", state)
    with pytest.raises(UserError, match="sinusoidal_layout"):
        load_weights(model_of("bert_sinusoidalpos"), tmp_path / "model.bin")
    load_weights(model_of("bert_sinusoidalpos", sinusoidal_layout="interleaved"), tmp_path / "model.bin")


def test_one_stream_serves_both(tmp_path: Path) -> None:
    config = family("sbert", "normal").config()
    single = build_model(config.stream_0.replace(vocab_size=200, target=("mlm",)))  # type: ignore[union-attr]
    save_weights(single.state_dict(), tmp_path / "model.bin")
    model = build_model(config)
    report = load_weights(model, tmp_path / "model.bin", strict=False)
    assert all(name.startswith("embedding.dual.stream_") for name in report.missing)
    assert torch.equal(
        model.get_parameter("embedding.dual.embedding_1.word.embedding.weight"),
        single.get_parameter("embedding.word.embedding.weight"),
    )
