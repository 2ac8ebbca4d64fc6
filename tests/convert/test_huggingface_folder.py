"""A Hugging Face folder is complete: models, tokenizers and pipelines of transformers load it without a network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from uer_ds.cli.main import main
from uer_ds.convert import convert
from uer_ds.errors import UserError
from uer_ds.models.zoo import load_config
from uer_ds.tokenizers import Tokenizer, load_tokenizer

transformers = pytest.importorskip("transformers")

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "\u2028", *"今天气很好，年cafe"]
GPT2 = {
    "emb_size": 32,
    "hidden_size": 32,
    "feedforward_size": 64,
    "heads_num": 4,
    "layers_num": 2,
    "hidden_act": "gelu_fast",
    "max_seq_length": 64,
    "vocab_size": len(VOCABULARY),
    "embedding": ["word", "pos"],
    "remove_embedding_layernorm": True,
    "mask": "causal",
    "layernorm_positioning": "pre",
    "target": ["lm"],
    "tie_weights": True,
}


@pytest.fixture
def tokenizer(tmp_path) -> Tokenizer:
    path = tmp_path / "vocab.txt"
    path.write_text("".join(token + "\n" for token in VOCABULARY), encoding="utf-8")
    return load_tokenizer("bert", vocab_path=path)


def saved_checkpoint(model: Path, tokenizer: Tokenizer) -> Path:
    """Make a model folder look like one that training has written."""
    folder = model / "tokenizer"
    folder.mkdir()
    (folder / "description.json").write_text(json.dumps(tokenizer.save(folder)))
    state = {
        "updates": 1200,
        "samples": 9600,
        "tokens": 2500000,
        "versions": {"uer_ds": "0.1.0"},
        "datasets": [{"path": "/home/me/reviews"}],
    }
    (model / "state.json").write_text(json.dumps(state))
    return model


def test_a_checkpoint_of_ours_becomes_a_complete_folder(small_bert, tokenizer, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    small_bert(run / "checkpoint-200", vocab_size=len(VOCABULARY))
    saved_checkpoint(small_bert(run / "checkpoint-1200", vocab_size=len(VOCABULARY)), tokenizer)
    report = convert(run, tmp_path / "hf")
    assert report.export.difference is not None
    assert report.export.difference.absolute < 1e-5
    assert {file.name for file in (tmp_path / "hf").iterdir()} == {
        "README.md",
        "config.json",
        "model.safetensors",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "uer_remainder.safetensors",
        "vocab.txt",
    }
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    assert loaded.convert_ids_to_tokens([4, 5, 6]) == ["[MASK]", "\u2028", "今"]
    assert loaded("今天", "天气").token_type_ids == [0, 0, 0, 0, 1, 1, 1]
    assert transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "hf").config.pad_token_id == 0
    fill = transformers.pipeline("fill-mask", model=str(tmp_path / "hf"))
    assert len(fill("今天天气[MASK]好")) == 5
    card = (tmp_path / "hf" / "README.md").read_text()
    assert "| tokens seen | 2500000 |" in card
    assert "| dataset | reviews |" in card
    assert "pipeline_tag: fill-mask" in card
    assert "language" not in card  # 17 tokens tell none


def test_text_generation(small_model, tokenizer, tmp_path):
    convert(small_model(tmp_path / "model", GPT2), tmp_path / "hf", tokenizer=tokenizer)
    generate = transformers.pipeline("text-generation", model=str(tmp_path / "hf"))
    (answer,) = generate("今天天气", max_new_tokens=5, do_sample=False)
    assert answer["generated_text"].replace(" ", "").startswith("今天天气")
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert (config["bos_token_id"], config["eos_token_id"], config["pad_token_id"]) == (2, 3, 0)


def test_large_models_are_sharded(small_bert, tmp_path):
    convert(small_bert(tmp_path / "model"), tmp_path / "hf", shard_bytes=60_000)
    index = json.loads((tmp_path / "hf" / "model.safetensors.index.json").read_text())
    shards = set(index["weight_map"].values())
    assert len(shards) > 3
    assert all((tmp_path / "hf" / shard).stat().st_size < 70_000 for shard in shards)
    convert(tmp_path / "hf", tmp_path / "again.bin", to="uer")  # read back, verified


def test_a_vocabulary_of_another_model_is_refused(small_bert, tokenizer, tmp_path):
    model = small_bert(tmp_path / "model", vocab_size=len(VOCABULARY) - 1)
    with pytest.raises(UserError, match="word table has 16 rows"):
        convert(model, tmp_path / "hf", tokenizer=tokenizer)
    assert not (tmp_path / "hf").exists()


def test_label_names_travel(small_bert, tmp_path):
    model = small_bert(tmp_path / "model", target=["cls"], labels_num=2, tie_weights=False)
    convert(model, tmp_path / "hf", labels=["bad", "good"])
    loaded = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "hf")
    assert loaded.config.id2label == {0: "bad", 1: "good"}
    convert(tmp_path / "hf", tmp_path / "x.bin", to="uer")
    assert json.loads((tmp_path / "x_labels.json").read_text()) == {"bad": 0, "good": 1}
    convert(tmp_path / "x.bin", tmp_path / "again")
    assert json.loads((tmp_path / "again" / "config.json").read_text())["label2id"] == {"bad": 0, "good": 1}
    with pytest.raises(UserError, match="3 names"):
        convert(tmp_path / "x.bin", tmp_path / "wrong", labels=["a", "b", "c"])


def test_the_configuration_of_a_bare_file_by_name(small_model, tmp_path):
    """The page's RoBERTa sizes need neither a JSON nor a number of heads."""
    config = load_config("roberta_L-2_H-128", vocab_size=50)
    model = small_model(tmp_path / "model", config.to_dict())
    report = convert(model / "model.safetensors", tmp_path / "hf", config_path="roberta_L-2_H-128")
    assert report.config.heads_num == 2
    assert report.export.difference is not None
    assert report.export.difference.absolute < 1e-5


def test_names_of_tags_travel(tmp_path):
    """Token classification: from Hugging Face to UER-py's label2id file and back, and without names."""
    tags = ["O", "B-PER", "I-PER", "B-LOC"]
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "num_hidden_layers": 1}
    config = transformers.BertConfig(**sizes, vocab_size=50, id2label=dict(enumerate(tags)))
    transformers.BertForTokenClassification(config).save_pretrained(tmp_path / "hf")
    convert(tmp_path / "hf", tmp_path / "ner.bin", to="uer")
    label2id = json.loads((tmp_path / "ner_labels.json").read_text())
    assert label2id == {tag: number for number, tag in enumerate(tags)}
    convert(tmp_path / "ner.bin", tmp_path / "again")
    loaded = transformers.AutoModelForTokenClassification.from_pretrained(tmp_path / "again")
    assert loaded.config.id2label == dict(enumerate(tags))
    assert loaded.config.label2id == label2id
    (tmp_path / "ner_labels.json").unlink()  # what UER-py's run_ner.py writes has no names
    convert(tmp_path / "ner.bin", tmp_path / "named", labels=tags)
    assert json.loads((tmp_path / "named" / "config.json").read_text())["label2id"] == label2id
    convert(tmp_path / "ner.bin", tmp_path / "padded", labels=tags[:3])  # UER-py's taggers have a class for padding
    assert json.loads((tmp_path / "padded" / "config.json").read_text())["id2label"]["3"] == "[PAD]"
    with pytest.raises(UserError, match="2 names"):
        convert(tmp_path / "ner.bin", tmp_path / "wrong", labels=tags[:2])


def test_siamese_models(small_bert, tmp_path):
    convert(small_bert(tmp_path / "model", layernorm_eps=1e-12), tmp_path / "hf")
    report = convert(tmp_path / "hf", tmp_path / "pair.bin", to="uer", family="sbert")
    assert report.config.encoder == "dual"
    assert report.export.difference is not None
    assert report.export.difference.absolute < 1e-5
    convert(tmp_path / "pair.bin", tmp_path / "again")
    loaded = transformers.AutoModel.from_pretrained(tmp_path / "again")
    before = transformers.AutoModel.from_pretrained(tmp_path / "hf")
    name = "embeddings.LayerNorm.weight"
    assert loaded.get_parameter(name).equal(before.get_parameter(name))
    assert json.loads((tmp_path / "again" / "1_Pooling" / "config.json").read_text())["pooling_mode_cls_token"]


def test_what_the_command_says(small_bert, tmp_path, capsys):
    assert main(["convert", str(small_bert(tmp_path / "model")), str(tmp_path / "hf")]) == 0
    printed = capsys.readouterr().out
    assert "bert with head mlm, 2 layers, hidden size 64" in printed
    assert "the logits of both sides differ by at most" in printed
    assert "no tokenizer was written" in printed
