"""Token ids, settings of generation, pooling, segments, labels: what stands beside weights there and comes back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from uer_ds.cli.main import main
from uer_ds.config.model import model_config_from_dict
from uer_ds.convert import convert
from uer_ds.data.batch import Batch
from uer_ds.errors import UserError
from uer_ds.models.model import build_model
from uer_ds.models.pooling import pool
from uer_ds.models.weights import load_weights
from uer_ds.storage.files import read_json_object
from uer_ds.tokenizers import load_tokenizer

transformers = pytest.importorskip("transformers")

GOLDENS = Path(__file__).resolve().parents[1] / "golden" / "models"
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 40}
T5 = {"d_model": 32, "d_ff": 48, "d_kv": 8, "num_heads": 4, "num_layers": 1, "vocab_size": 40}


def saved(folder: Path, architecture: str, config: Any) -> Path:
    torch.manual_seed(1)
    getattr(transformers, architecture)(config).save_pretrained(folder)
    return folder


def config_of(folder: Path) -> dict[str, Any]:
    return read_json_object(folder / "config.json")


@pytest.mark.parametrize("way", ["huggingface", "uer", "safetensors"])
def test_special_ids_come_back(tmp_path, way):
    config = transformers.T5Config(**T5, decoder_start_token_id=3, eos_token_id=5, pad_token_id=2)
    source = saved(tmp_path / "hf", "T5ForConditionalGeneration", config)
    generation = {**read_json_object(source / "generation_config.json"), "max_new_tokens": 4, "num_beams": 2}
    (source / "generation_config.json").write_text(json.dumps(generation))
    if way != "huggingface":
        between = tmp_path / ("x.bin" if way == "uer" else "folder")
        convert(source, between, to=way)
        source = between
    convert(source, tmp_path / "again")
    found = config_of(tmp_path / "again")
    assert (found["decoder_start_token_id"], found["eos_token_id"], found["pad_token_id"]) == (3, 5, 2)
    assert read_json_object(tmp_path / "again" / "generation_config.json") == generation
    model = transformers.T5ForConditionalGeneration.from_pretrained(tmp_path / "again")
    assert model.generate(torch.tensor([[7, 8, 5]])).shape[1] <= 5


def test_ids_of_gpt2_come_back_and_foreign_ones_do_not(tmp_path):
    config = transformers.GPT2Config(n_embd=32, n_layer=1, n_head=4, vocab_size=40, bos_token_id=1, eos_token_id=2)
    convert(saved(tmp_path / "hf", "GPT2LMHeadModel", config), tmp_path / "again")
    assert (config_of(tmp_path / "again")["bos_token_id"], config_of(tmp_path / "again")["eos_token_id"]) == (1, 2)
    values = config_of(tmp_path / "hf")
    (tmp_path / "hf" / "config.json").write_text(json.dumps({**values, "bos_token_id": 50256}))
    convert(tmp_path / "hf", tmp_path / "third")
    assert config_of(tmp_path / "third")["bos_token_id"] is None


def test_a_tokenizer_goes_before_kept_ids(tmp_path):
    (tmp_path / "vocab.txt").write_text(
        "".join(f"{t}\n" for t in ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *map(str, range(36))])
    )
    config = transformers.GPT2Config(n_embd=32, n_layer=1, n_head=4, vocab_size=40, bos_token_id=7, eos_token_id=8)
    saved(tmp_path / "hf", "GPT2LMHeadModel", config)
    convert(tmp_path / "hf", tmp_path / "again", tokenizer=load_tokenizer(vocab_path=tmp_path / "vocab.txt"))
    assert (config_of(tmp_path / "again")["bos_token_id"], config_of(tmp_path / "again")["eos_token_id"]) == (2, 3)


@pytest.mark.parametrize("family", ["xlm-roberta", "roberta"])
def test_positions_after_another_padding_id_are_refused(small_bert, tmp_path, family):
    name = "XLMRoberta" if family == "xlm-roberta" else "Roberta"
    config = getattr(transformers, f"{name}Config")(
        **SIZES, type_vocab_size=1, max_position_embeddings=20, pad_token_id=0
    )
    saved(tmp_path / "hf", f"{name}ForMaskedLM", config)
    with pytest.raises(UserError, match="pad_token_id is 0; only models with 1"):
        convert(tmp_path / "hf", tmp_path / "out.bin", to="uer")
    (tmp_path / "vocab.txt").write_text("".join(f"{t}\n" for t in ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"]))
    tokenizer = load_tokenizer(vocab_path=tmp_path / "vocab.txt")
    model = small_bert(tmp_path / "model", vocab_size=6)
    with pytest.raises(UserError, match=r"padding id 0, but positions of .*roberta models.*--family bert"):
        convert(model, tmp_path / "out", family=family, tokenizer=tokenizer)
    convert(model, tmp_path / "out", family="bert", tokenizer=tokenizer)


@pytest.mark.parametrize("architecture", ["BertForMaskedLM", "AlbertForMaskedLM"])
@pytest.mark.parametrize("segments", [1, 2])
def test_tables_of_segments_come_back(tmp_path, architecture, segments):
    config_class = getattr(transformers, architecture.replace("ForMaskedLM", "Config"))
    sizes = {**SIZES, "embedding_size": 16} if architecture.startswith("Albert") else SIZES
    saved(tmp_path / "hf", architecture, config_class(**sizes, type_vocab_size=segments))
    convert(tmp_path / "hf", tmp_path / "x.bin", to="uer")
    convert(tmp_path / "x.bin", tmp_path / "again")
    assert config_of(tmp_path / "again")["type_vocab_size"] == segments
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("hf", "again"))
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_more_than_two_segments_are_refused(tmp_path):
    saved(tmp_path / "hf", "BertForMaskedLM", transformers.BertConfig(**SIZES, type_vocab_size=4))
    with pytest.raises(UserError, match="has 4 rows; only models with 1 or 2 segments"):
        convert(tmp_path / "hf", tmp_path / "x.bin", to="uer")


def sentence_model(folder: Path, pooling: str) -> Path:
    """A model of sentence-transformers, as that library saves it."""
    saved(folder, "BertModel", transformers.BertConfig(**SIZES, layer_norm_eps=1e-12))
    (folder / "1_Pooling").mkdir()
    modes = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")
    values = {f"pooling_mode_{mode}": mode == pooling for mode in modes}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 32, **values}))
    kinds = ("Transformer", "Pooling", "Normalize")
    modules = [{"idx": n, "path": "", "type": f"sentence_transformers.models.{kind}"} for n, kind in enumerate(kinds)]
    (folder / "modules.json").write_text(json.dumps(modules))
    return folder


@pytest.mark.parametrize("pooling", ["cls_token", "mean_tokens", "max_tokens"])
def test_vectors_of_sentences(tmp_path, pooling):
    """Our siamese model pools as the original does, which is computed by hand from transformers' hidden states."""
    source = sentence_model(tmp_path / "hf", pooling)
    generator = torch.Generator().manual_seed(4)
    ids = torch.randint(5, 40, (3, 9), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 6:], mask[2, 2:] = 0, 0
    with torch.no_grad():
        hidden = (
            transformers.BertModel.from_pretrained(source).eval()(input_ids=ids, attention_mask=mask).last_hidden_state
        )
    by_hand = {
        "cls_token": hidden[:, 0],
        "mean_tokens": torch.stack([row[:count].mean(0) for row, count in zip(hidden, mask.sum(1), strict=True)]),
        "max_tokens": torch.stack([row[:count].amax(0) for row, count in zip(hidden, mask.sum(1), strict=True)]),
    }
    convert(source, tmp_path / "pair.bin", to="uer", family="sbert")
    config = model_config_from_dict(read_json_object(tmp_path / "pair_config.json"))
    model = build_model(config).eval()
    load_weights(model, tmp_path / "pair.bin")
    with torch.no_grad():
        streams = model.encode_streams(Batch(ids, mask, second=Batch(ids, mask)))
    for stream in streams:
        torch.testing.assert_close(pool(stream, mask, config.pooling), by_hand[pooling], rtol=0, atol=1e-5)
    convert(tmp_path / "pair.bin", tmp_path / "again")
    for folder in (tmp_path / "again", tmp_path / "copy"):
        if folder.name == "copy":
            convert(source, folder)
        values = read_json_object(folder / "1_Pooling" / "config.json")
        assert [key for key, value in values.items() if value is True] == [f"pooling_mode_{pooling}"]
        assert (folder / "modules.json").is_file()


def test_other_ways_to_pool_are_refused(tmp_path):
    source = sentence_model(tmp_path / "hf", "mean_sqrt_len_tokens")
    with pytest.raises(UserError, match="pools by mean_sqrt_len_tokens; only one of"):
        convert(source, tmp_path / "out.bin", to="uer", family="sbert")
    source = sentence_model(tmp_path / "dense", "mean_tokens")
    modules = json.loads((source / "modules.json").read_text())
    modules[2]["type"] = "sentence_transformers.models.Dense"
    (source / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(UserError, match="has a layer Dense after the encoder"):
        convert(source, tmp_path / "out.bin", to="uer", family="sbert")


def test_the_advice_for_two_norms_can_be_followed(tmp_path, capsys):
    weights = load_file(GOLDENS / "sbert" / "model.safetensors")
    source = tmp_path / "sbert"
    source.mkdir()
    head = {"classifier.weight": torch.randn(3, 256), "classifier.bias": torch.zeros(3)}
    for name in list(weights):
        if "layer_norm.gamma" in name and "embedding.dual" in name:
            weights[name] = weights[name] + 0.5
    save_file({**weights, **head}, source / "model.safetensors")
    (source / "config.json").write_text((GOLDENS / "sbert" / "config.json").read_text())
    assert main(["convert", str(source), str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    advice = message.split("--ignore '")[1].split("'")[0]
    assert main(["convert", str(source), str(tmp_path / "out"), "--ignore", advice]) == 0


def test_label_names_of_fine_tuning(small_bert, tmp_path):
    """The folder of a fine-tuned model: names are in its task.json."""
    model = small_bert(tmp_path / "model", target=[])
    weights = load_file(model / "model.safetensors")
    head = {"output_layer_1.weight": torch.randn(64, 64), "output_layer_1.bias": torch.randn(64)}
    head |= {"output_layer_2.weight": torch.randn(2, 64), "output_layer_2.bias": torch.randn(2)}
    save_file({**weights, **head}, model / "model.safetensors")
    for task, problem in (("classifier", None), ("multi_label", "multi_label_classification")):
        (model / "task.json").write_text(json.dumps({"task": task, "label2id": {"pos": 1, "neg": 0}, "options": {}}))
        convert(model, tmp_path / task)
        assert config_of(tmp_path / task)["label2id"] == {"neg": 0, "pos": 1}
        assert config_of(tmp_path / task).get("problem_type") == problem
    convert(model, tmp_path / "x.bin", to="uer")
    assert read_json_object(tmp_path / "x_labels.json") == {"neg": 0, "pos": 1}
