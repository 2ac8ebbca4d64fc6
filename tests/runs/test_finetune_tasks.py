"""Every task by the commands: it trains, and its evaluation is the score of its predictions. One launch of two ranks.

And what surrounds them: Hugging Face folders out and in, frozen layers, adversaries, causal models, repeated runs, and
the page's command lines on a little data.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.runs.conftest import ROOT, TINY_MODEL, metrics, start_together
from tests.runs.task_data import CHARACTERS, SCORES, column, write_data
from tests.runs.test_finetune import evaluations, write_rows
from uer_ds.config.model import model_config_from_dict
from uer_ds.models.model import build_model
from uer_ds.models.weight_files import read_weights, save_weights

STAGES = ("zero0", "zero2_bf16")
FEW = {"cmrc": "average", "dbqa": "mrr", "ner": "f1", "ner_crf": "f1", "regression": "spearman", "simcse": "spearman"}
"""Tasks that are not chosen by accuracy."""

JSON_TASKS = ("cmrc", "c3", "chid")
GPT = ("--embedding", "word", "pos", "seg", "--remove_embedding_layernorm", "--encoder", "transformer")
GPT += ("--mask", "causal", "--layernorm_positioning", "pre")
BERT = ("--embedding", "word", "pos", "seg", "--encoder", "transformer", "--mask", "fully_visible")


class Plan:
    """Commands on the files of `folder`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.commands: list[list[str]] = []

    def add(self, command: str, task: str, *more: str, **paths: str) -> None:
        """A command; `paths` are options whose values are names in the folder."""
        files = [word for option, file in paths.items() for word in (f"--{option}", str(self.folder / file))]
        self.commands.append([command, task, *files, *more])

    def train(self, task: str, output: str, data: str, *more: str, **paths: str) -> None:
        """Two updates or more on the data in the sub-folder `data`."""
        kind = "json" if task in JSON_TASKS else "tsv"
        usual = {"train_path": f"{data}/train.{kind}", "dev_path": f"{data}/dev.{kind}", "output_model_path": output}
        if task == "chid":
            usual.update(train_answer_path=f"{data}/train_answers.json", dev_answer_path=f"{data}/dev_answers.json")
            usual.update(test_answer_path=f"{data}/dev_answers.json", test_path=f"{data}/dev.json")
        if "pretrained_model_path" not in paths:
            usual.update(config_path="model.json", vocab_path="vocab.txt")
        words = ("--epochs_num", "1", "--batch_size", "8", "--seq_length", "48", "--report_steps", "1")
        words += ("--learning_rate", "1e-2", "--loader_workers", "0")
        self.add("finetune", task, *words, *more, **{**usual, **paths})

    def predict(self, task: str, model: str, data: str, output: str, *more: str) -> None:
        """Answers to the dev data."""
        file = {"cmrc": "dev_texts.json", "c3": "dev_texts.json", "chid": "dev.json"}.get(task, "dev_texts.tsv")
        paths = {"load_model_path": model, "test_path": f"{data}/{file}", "prediction_path": output}
        self.add("predict", task, *more, **paths)

    def run(self, name: str, processes: int) -> None:
        """All commands in one process group."""
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(self.commands))
        start_together(processes, "tests/runs/many_commands.py", path, timeout=400, OMP_NUM_THREADS="1")


def options_of(name: str) -> tuple[str, ...]:
    """What a task needs besides paths."""
    if name == "ner_crf":
        return ("--crf_target",)
    if name == "text2text":
        return ("--decoder", "transformer", "--tgt_embedding", "word", "pos", "--target", "lm", "--tgt_seq_length", "6")
    return {"c3": ("--max_choices_num", "3"), "chid": ("--max_choices_num", "3"), "prompt": ("--prompt_id", "p")}.get(
        name, ()
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, models to begin with, and the outputs of all commands."""
    folder = tmp_path_factory.mktemp("tasks")
    write_models(folder)
    for name in SCORES:
        write_data(folder / name, name)
    two = Plan(folder)
    for name in SCORES:
        task = name.removesuffix("_crf")
        more = {"prompt_path": "prompts.json"} if task == "prompt" else {}
        more |= (
            {"pretrained_model_path": "bert.bin", "config_path": "pair.json", "vocab_path": "vocab.txt"}
            if (task == "siamese")
            else {}
        )
        for stage in STAGES:
            output = f"{stage}-{name}"
            two.train(task, output, name, "--ds_config", stage, *options_of(name), **more)
            scores = ("--output_logits",) if task in ("dbqa", "classifier") else ()
            two.predict(task, output, name, f"{output}.answers", *scores)
    two.train("text2text", "zero3-text2text", "text2text", "--ds_config", "zero3", *options_of("text2text"))
    bert = {"pretrained_model_path": "bert.bin", "config_path": "model.json", "vocab_path": "vocab.txt"}
    two.train("classifier", "frozen", "classifier", "--ds_config", "zero3", "--freeze_layers", "1", **bert)
    pgd = ("--use_adv", "--adv_type", "pgd")
    two.train("classifier", "adversarial", "classifier", "--ds_config", "zero2", *pgd)
    two.run("two", processes=2)
    return folder


def write_models(folder: Path) -> None:
    """A vocabulary; a BERT and a GPT-2 as UER-py's files with their JSON; the JSON of two streams; a prompt."""
    (folder / "vocab.txt").write_text("\n".join(CHARACTERS) + "\n", encoding="utf-8")
    (folder / "model.json").write_text(json.dumps(TINY_MODEL))
    body = {key: value for key, value in TINY_MODEL.items() if key not in ("target", "data_processor", "tie_weights")}
    pair = {"stream_0": body, "stream_1": body, "embedding": ["dual"], "encoder": "dual", "tie_weights": True}
    (folder / "pair.json").write_text(json.dumps({**pair, "pooling": "mean"}))
    gpt = {**body, "embedding": ["word", "pos"], "remove_embedding_layernorm": True, "mask": "causal"}
    gpt |= {"layernorm_positioning": "pre", "target": ["lm"], "tie_weights": True}
    (folder / "gpt.json").write_text(json.dumps(gpt))
    prompt = {"template": "[TEXT_A]我[ANS]", "answer_words": {"0": "好", "1": "坏"}}
    (folder / "prompts.json").write_text(json.dumps({"p": prompt}))
    for name, values in (("bert", TINY_MODEL), ("gpt", gpt)):
        torch.manual_seed(1)
        model = build_model(model_config_from_dict({**values, "vocab_size": len(CHARACTERS)}))
        save_weights(model.state_dict(), folder / f"{name}.bin")


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", SCORES)
def test_evaluation_is_the_score_of_the_predictions(folder: Path, name: str, stage: str) -> None:
    [evaluation] = evaluations(folder / f"{stage}-{name}")
    found = SCORES[name](folder / name, folder / f"{stage}-{name}.answers")
    # Predictions are made in float32: a model that was evaluated in bfloat16 may answer two of 13 rows otherwise (four,
    # where it chooses among equals), and numbers that hardly differ yet after two updates may change places.
    rounded = {"cmrc": 16, "regression": 2, "simcse": 2, "c3": 0.31, "chid": 0.31}
    tolerance = 1e-6 if stage == "zero0" else rounded.get(name, 0.16)
    assert found == pytest.approx(evaluation[FEW.get(name, "accuracy")], abs=tolerance)
    losses = [report["loss"] for report in metrics(folder / f"{stage}-{name}")]
    assert len(losses) >= 2 and np.isfinite(losses).all() and len(set(losses)) > 1


def test_tags_are_never_padding_and_every_token_has_one(folder: Path) -> None:
    for name in ("ner", "ner_crf"):
        answers = column(folder / f"zero0-{name}.answers", "pred_label")
        assert "[PAD]" not in " ".join(answers)
        tokens = column(folder / name / "dev.tsv", "text_a")
        assert [len(answer.split()) for answer in answers] == [len(text.split()) for text in tokens]


def test_frozen_layers_stay(folder: Path) -> None:
    found, start = (read_all(folder / name) for name in ("frozen/model.safetensors", "bert.bin"))
    for name in {name for name in start.keys() & found.keys() if not name.endswith("bias")}:  # some stay as they are
        is_frozen = name.startswith(("embedding.", "encoder.transformer.0."))
        assert torch.equal(found[name], start[name]) == is_frozen, name


def read_all(path: Path) -> dict[str, torch.Tensor]:
    return {name: read() for name, read in read_weights(path).items()}


def test_adversaries_are_trained_against_and_the_plain_loss_is_told(folder: Path) -> None:
    plain, perturbed = (metrics(folder / name) for name in ("zero0-classifier", "adversarial"))
    assert perturbed[0]["loss"] == pytest.approx(plain[0]["loss"], abs=1e-5)
    assert perturbed[0]["grad_norm"] > 1.5 * plain[0]["grad_norm"]
    ends = [read_all(folder / name / "model.safetensors") for name in ("zero0-classifier", "adversarial")]
    assert not torch.equal(*(weights["embedding.word.embedding.weight"] for weights in ends))


def test_generation_works_on_partitioned_weights(folder: Path) -> None:
    losses = [[report["loss"] for report in metrics(folder / f"{stage}-text2text")] for stage in ("zero0", "zero3")]
    assert losses[0] == pytest.approx(losses[1], abs=2e-5)
    scores = [evaluations(folder / f"{stage}-text2text")[0]["rouge_l"] for stage in ("zero0", "zero3")]
    assert scores[0] == scores[1]


@pytest.fixture(scope="module")
def alone(folder: Path) -> Path:
    """What one process does: starts from other checkpoints, causal models, the page's commands, the same run twice."""
    write_rows(folder / "train.tsv", 240, seed=1)
    write_rows(folder / "dev.tsv", 60, seed=2)
    write_rows(folder / "dev_texts.tsv", 60, seed=2, labels=False)
    plan = Plan(folder)
    slow = ("--learning_rate", "1e-4")
    plan.train("classifier", "from_theirs", "classifier", *slow, pretrained_model_path="zero0-classifier/huggingface")
    book = {"train_path": "train.tsv", "dev_path": "dev.tsv", "test_path": "dev.tsv"}
    gpt = {"pretrained_model_path": "gpt.bin", "vocab_path": "vocab.txt", "config_path": "gpt.json", **book}
    bert = {"pretrained_model_path": "bert.bin", "vocab_path": "vocab.txt", "config_path": "model.json", **book}
    page = ("--batch_size", "64", "--epochs_num", "8", "--learning_rate", "3e-3")
    plan.add("finetune", "classifier", *page, *BERT, **bert, output_model_path="page_3")
    plan.add("finetune", "classifier", *page, *GPT, **gpt, output_model_path="page_11")
    words = {key: value for key, value in bert.items() if key != "vocab_path"}
    words |= {"pretrained_model_path": "words.bin", "spm_model_path": "words.model"}
    write_words(folder)
    longer = ("--epochs_num", "24")  # its words start from nothing
    plan.add("finetune", "classifier", *page, *longer, *BERT, **words, output_model_path="page_7")
    for name in ("once", "again"):
        plan.train("classifier", name, "classifier", "--dropout", "0.3")
    lists = {"load_model_path": "zero0-ner", "test_path": "tokens.jsonl", "prediction_path": "tags.jsonl"}
    records = [{"text_a": list("天地好")}, {"text_a": ""}, {"text_a": "好 坏"}]
    (folder / "tokens.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    plan.add("predict", "ner", **lists)
    plan.predict("classifier", "zero0-classifier", "classifier", "answers.parquet", "--output_prob")
    plan.run("alone", processes=1)
    return folder


def write_words(folder: Path) -> None:
    """A sentencepiece model of the texts, and a BERT over its vocabulary."""
    import sentencepiece

    texts = column(folder / "train.tsv", "text_a")
    pieces = ("--pad_id=0", "--unk_id=1", "--bos_id=-1", "--eos_id=-1")
    (folder / "texts.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        f"--input={folder / 'texts.txt'} --model_prefix={folder / 'words'} --vocab_size=60 --hard_vocab_limit=false "
        f"--pad_piece=[PAD] --unk_piece=[UNK] --user_defined_symbols=[CLS],[SEP],[MASK] --minloglevel=2 "
        + " ".join(pieces)
    )
    size = len((folder / "words.vocab").read_text("utf-8").splitlines())
    torch.manual_seed(1)
    save_weights(
        build_model(model_config_from_dict({**TINY_MODEL, "vocab_size": size})).state_dict(), folder / "words.bin"
    )


@pytest.mark.parametrize("name", ["page_3", "page_7", "page_11"])
def test_the_page_s_commands_learn(alone: Path, name: str) -> None:
    """Also on a causal model, whose first token, UER-py's pooling, sees nothing of the text."""
    scores = json.loads((alone / name / "scores.json").read_text())
    majority = max(column(alone / "dev.tsv", "label").count(label) for label in "01") / 60
    assert scores["test"] == scores["dev"] and scores["dev"]["accuracy"] > majority + 0.25
    pooling = json.loads((alone / name / "config.json").read_text()).get("pooling", "first")
    assert pooling == ("last" if name == "page_11" else "first")


def test_the_same_command_twice_is_the_same_training(alone: Path) -> None:
    once, again = ([report["loss"] for report in metrics(alone / name)] for name in ("once", "again"))
    assert once == again
    first, second = (read_all(alone / name / "model.safetensors") for name in ("once", "again"))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_fine_tuning_goes_on_from_a_hugging_face_folder(alone: Path) -> None:
    run = json.loads((alone / "from_theirs" / "run.json").read_text())
    assert run["paths"]["pretrained_model_path"].endswith("huggingface") and "vocab_path" not in run["tokenizer"]
    start, end = (read_all(alone / name / "model.safetensors") for name in ("zero0-classifier", "from_theirs"))
    moved = max(float((start[name] - end[name]).abs().max()) for name in start)
    assert start.keys() == end.keys() and 0 < moved < 2e-3  # small steps from where the first one ended


def test_lists_and_empty_rows_are_answered(alone: Path) -> None:
    records = [json.loads(line) for line in (alone / "tags.jsonl").read_text().splitlines()]
    assert [len(record["pred_label"]) for record in records] == [3, 0, 2]


def test_parquet_holds_what_tsv_holds(alone: Path) -> None:
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(alone / "answers.parquet").to_pydict()
    assert table["label"] == column(alone / "zero0-classifier.answers", "label")
    assert all(sum(row) == pytest.approx(1.0, abs=1e-5) for row in table["prob"])


def test_transformers_reads_the_results(alone: Path) -> None:
    from transformers import (
        AutoModelForQuestionAnswering,
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
        AutoTokenizer,
    )

    folder = alone / "zero0-classifier" / "huggingface"
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert model.config.id2label == {0: "0", 1: "1"}
    texts = column(alone / "classifier" / "dev.tsv", "text_a")
    with torch.no_grad():
        theirs = model.eval()(**tokenizer(texts, padding=True, return_tensors="pt")).logits
    ours = [list(map(float, cell.split())) for cell in column(alone / "zero0-classifier.answers", "logits")]
    torch.testing.assert_close(theirs, torch.tensor(ours), atol=2e-5, rtol=1e-4)

    tagger = AutoModelForTokenClassification.from_pretrained(alone / "zero0-ner" / "huggingface").eval()
    assert list(tagger.config.id2label.values()) == ["B-X", "I-X", "O", "[PAD]"]
    tokens = column(alone / "ner" / "dev.tsv", "text_a")[0].split()
    ids = torch.tensor([[CHARACTERS.index(token) for token in tokens]])
    with torch.no_grad():
        best = tagger(ids).logits[0, :, :3].argmax(-1).tolist()
    assert [tagger.config.id2label[number] for number in best] == column(alone / "zero0-ner.answers", "pred_label")[
        0
    ].split()

    reader = AutoModelForQuestionAnswering.from_pretrained(alone / "zero0-cmrc" / "huggingface").eval()
    paragraph = json.loads((alone / "cmrc" / "dev.json").read_text())["data"][0]["paragraphs"][0]
    encoded = tokenizer("很", paragraph["context"], return_tensors="pt")
    with torch.no_grad():
        spans = reader(**encoded)
    start = int(spans.start_logits[0, 3:-1].argmax())
    end = start + int(spans.end_logits[0, 3 + start : -1].argmax())
    assert json.loads((alone / "zero0-cmrc.answers").read_text())["Q0"] == paragraph["context"][start : end + 1]
    for name in ("zero0-ner_crf", "zero0-siamese", "zero0-c3"):
        assert not (alone / name / "huggingface").exists()


def test_a_stop_says_what_is_kept_and_tests_nothing(alone: Path) -> None:
    plan = Plan(alone)
    more = ("--epochs_num", "100000", "--report_steps", "20")
    plan.train("classifier", "stopped", "classifier", *more, test_path="classifier/dev.tsv")
    command = [sys.executable, "-m", "uer_ds", *plan.commands[0]]
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        deadline = time.monotonic() + 120
        while not (alone / "stopped" / "scores.json").exists() and time.monotonic() < deadline:
            if (alone / "stopped" / "task.json").exists():
                running.send_signal(signal.SIGTERM)
                break
            time.sleep(0.2)
        said, _ = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 143, said[-3000:]
    assert "stopped (SIGTERM) at update" in said and "the best so far, is kept in" in said
    assert "the same command begins again" in said and not (alone / "stopped" / "scores.json").exists()
