"""Names of UER-py's earlier years: read and written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from uer_ds.config.model import model_config_from_dict
from uer_ds.convert import convert
from uer_ds.convert.eras import with_names_of
from uer_ds.errors import UserError
from uer_ds.models.old_names import is_fixed_table, present_names
from uer_ds.storage.files import read_json_object
from uer_ds.storage.lazy import in_memory

GOLDENS = Path(__file__).resolve().parents[1] / "golden" / "models"
NO_OLD_FORM = ("sbert", "siamese_lstm", "pegasus", "transformer_mt", "bert_sinusoidalpos")  # beginnings of names
FLAT_NAMES = {
    "2021": {
        "bert": {"embedding.word_embedding.weight", "target.mlm_linear_1.weight", "target.nsp_linear_2.bias"},
        "albert": {"target.sop_linear_1.weight", "target.layer_norm.gamma", "encoder.linear.weight"},
        "bart": {
            "target.embedding.position_embedding.weight",
            "target.decoder.transformer_decoder.0.layer_norm_3.beta",
        },
        "bilstm_bilm": {"target.output_layer.weight", "encoder.rnn_backward.weight_hh_l0"},
        "cls_first": {"target.linear_1.weight", "target.linear_2.bias"},
    },
    "2022": {
        "bert": {"embedding.segment_embedding.weight", "target.sp_linear_1.weight"},
        "t5": {"tgt_embedding.word_embedding.weight", "decoder.layer_norm.weight", "target.output_layer.weight"},
    },
}


@pytest.mark.parametrize("era", ["2021", "2022", "2023"])
@pytest.mark.parametrize("name", sorted(p.name for p in GOLDENS.iterdir() if not p.name.startswith(NO_OLD_FORM)))
def test_every_name_has_an_old_form_and_back(name, era):
    config = model_config_from_dict(read_json_object(GOLDENS / name / "config.json"))
    names = load_file(GOLDENS / name / "model.safetensors").keys()
    old = with_names_of(era, in_memory({key: torch.zeros(1) for key in names}), config)
    assert set(present_names(old).values()) == set(names)
    assert FLAT_NAMES.get(era, {}).get(name, set()) <= old.keys()


@pytest.mark.parametrize("era", ["2021", "2022"])
def test_a_file_of_old_names_is_converted(era, tmp_path):
    convert(GOLDENS / "bert", tmp_path / "old.bin", to="uer", era=era)
    old = torch.load(tmp_path / "old.bin", weights_only=True)
    assert "embedding.word_embedding.weight" in old
    assert old["embedding.word_embedding.weight"].data_ptr() == old["target.mlm_linear_2.weight"].data_ptr()
    torch.save({f"module.{name}": tensor for name, tensor in old.items()}, tmp_path / "wrapped.bin")
    convert(tmp_path / "wrapped.bin", tmp_path / "new.bin", to="uer", heads_num=4)
    new, expected = torch.load(tmp_path / "new.bin"), load_file(GOLDENS / "bert" / "model.safetensors")
    assert new.keys() == expected.keys()
    assert all(torch.equal(new[name], expected[name]) for name in expected)


def test_sinusoids_of_2021_are_recognised(tmp_path):
    values = {**read_json_object(GOLDENS / "pegasus" / "config.json"), "sinusoidal_layout": "interleaved"}
    config = model_config_from_dict(values)
    weights = in_memory(load_file(GOLDENS / "pegasus" / "model.safetensors"))
    old = {name: tensor.read() for name, tensor in with_names_of("2021", weights, config).items()}
    assert {name for name in old if is_fixed_table(present_names(old)[name])} == {"embedding.pe", "target.embedding.pe"}
    torch.save(old, tmp_path / "old.bin")
    report = convert(tmp_path / "old.bin", tmp_path / "hf", heads_num=4)
    assert report.config.sinusoidal_layout == "interleaved"
    assert report.export.family == "pegasus"


def test_what_an_era_cannot_compute_is_refused(tmp_path):
    for name in ("pegasus", "sbert"):
        with pytest.raises(UserError, match="--era"):
            convert(GOLDENS / name, tmp_path / "old.bin", to="uer", era="2021")
    assert not list(tmp_path.iterdir())


def test_the_head_of_prompt_models_is_found(tmp_path):
    weights = load_file(GOLDENS / "roberta" / "model.safetensors")
    prompt = {name.replace("target.mlm.", "target."): tensor for name, tensor in weights.items()}
    torch.save(prompt, tmp_path / "prompt.bin", _use_new_zipfile_serialization=False)  # as torch saved before 1.6
    report = convert(tmp_path / "prompt.bin", tmp_path / "hf", heads_num=4)
    assert report.export.head == "mlm"


def test_old_layer_norm_names_of_hugging_face(tmp_path):
    convert(GOLDENS / "bert", tmp_path / "hf", verify=False)
    weights = load_file(tmp_path / "hf" / "model.safetensors")
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in weights.items()
    }
    old["bert.embeddings.position_ids"] = torch.arange(64).unsqueeze(0)
    (tmp_path / "hf" / "model.safetensors").unlink()
    torch.save(old, tmp_path / "hf" / "pytorch_model.bin")
    report = convert(tmp_path / "hf", tmp_path / "new.bin", to="uer", verify=False)
    assert report.export.dropped == ("bert.embeddings.position_ids",)
    new, expected = torch.load(tmp_path / "new.bin"), load_file(GOLDENS / "bert" / "model.safetensors")
    assert new.keys() == expected.keys()
    assert all(torch.equal(new[name], expected[name]) for name in new)


@pytest.mark.parametrize(
    ("name", "prefix", "head"), [("bert", "bert.", "none"), ("gpt2", "transformer.", "lm"), ("bart", "model.", "lm")]
)
def test_files_of_bare_models_lack_the_prefix(tmp_path, name, prefix, head):
    convert(GOLDENS / name, tmp_path / "hf", head=head, verify=False)
    weights = load_file(tmp_path / "hf" / "model.safetensors")
    bare = {key.removeprefix(prefix): tensor for key, tensor in weights.items()}
    torch.save(bare, tmp_path / "bare.bin")
    report = convert(tmp_path / "bare.bin", tmp_path / "new.bin", to="uer", heads_num=4)
    assert (report.export.family, report.export.head) == (name, head)


def test_tensors_tell_the_head_where_the_configuration_names_a_smaller_one(tmp_path):
    """Public BERT models call themselves BertForMaskedLM and have both pre-training heads."""
    convert(GOLDENS / "bert", tmp_path / "hf", verify=False)
    config = read_json_object(tmp_path / "hf" / "config.json")
    (tmp_path / "hf" / "config.json").write_text(json.dumps({**config, "architectures": ["BertForMaskedLM"]}))
    report = convert(tmp_path / "hf", tmp_path / "new.bin", to="uer")
    assert report.export.head == "mlm_sp"
    assert report.config.target == ("mlm", "sp")
