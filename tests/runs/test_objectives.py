"""Every objective trains: on real text, with the kind of model it is for, by two ranks under ZeRO 1 and 3.

Under stage 3 the first half of the updates is made, whose losses are those of stage 1. One launch runs all trainings
(`many_runs.py`). The text is `../shared/data` where that is there, else a made-up language.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.runs.conftest import ROOT, Run, metrics, write_text
from uer_ds.cli.main import main
from uer_ds.objective_specs import OBJECTIVE_SPECS

CORPORA = ROOT.parent / "shared" / "data" / "corpora"
STAGES = ("zero1", "zero3")
UPDATES, EVERY = 24, 3
HALF = UPDATES // EVERY // 2
FALL = {"loss_cls": 0.2, "loss_sp": 0.05}
"""How far a term of the loss must fall, in nats, where it is not half a nat."""

SIZES = {"emb_size": 64, "hidden_size": 64, "feedforward_size": 128, "heads_num": 4, "layers_num": 2}
BERT = {**SIZES, "max_seq_length": 64, "embedding": ["word", "pos", "seg"], "tie_weights": True}
GPT2 = {**BERT, "embedding": ["word", "pos"], "target": ["lm"], "mask": "causal", "layernorm_positioning": "pre"}
SEQ2SEQ = {
    **BERT,
    "embedding": ["word", "pos"],
    "tgt_embedding": ["word", "pos"],
    "decoder": "transformer",
    "target": ["lm"],
}
T5 = {
    **SEQ2SEQ,
    "embedding": ["word"],
    "tgt_embedding": ["word"],
    "relative_position_embedding": True,
    "remove_embedding_layernorm": True,
    "remove_attention_scale": True,
    "remove_transformer_bias": True,
    "layernorm": "t5",
    "layernorm_positioning": "pre",
    "share_embedding": True,
    "hidden_act": "relu",
}
LLAMA = {
    **GPT2,
    "embedding": ["word"],
    "remove_embedding_layernorm": True,
    "remove_transformer_bias": True,
    "rotary_position_embedding": True,
    "layernorm": "rms",
    "feed_forward": "gated",
    "hidden_act": "silu",
    "local_kv_heads_num": 2,
    "tie_weights": False,
}
RECURRENT = {"emb_size": 64, "hidden_size": 64, "layers_num": 2, "embedding": ["word"]}
CLASSES = {"target": ["cls"], "labels_num": 2, "pooling": "mean", "tie_weights": False}

# Name of the training -> objective, corpus, model.
TRAININGS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "mlm": ("mlm", "lines", {}),  # by --model roberta_L-2_H-128
    "bert": ("bert", "sentences", {**BERT, "target": ["mlm", "sp"]}),
    "albert": (
        "albert",
        "sentences",
        {
            **BERT,
            "emb_size": 32,
            "factorized_embedding_parameterization": True,
            "parameter_sharing": True,
            "target": ["mlm", "sp"],
        },
    ),
    "lm": ("lm", "lines", GPT2),
    "lm lstm": ("lm", "lines", {**RECURRENT, "encoder": "lstm", "target": ["lm"]}),
    "lm gatedcnn": (
        "lm",
        "lines",
        {**RECURRENT, "encoder": "gatedcnn", "kernel_size": 3, "block_size": 2, "target": ["lm"]},
    ),
    "bilm": ("bilm", "lines", {**RECURRENT, "encoder": "bilstm", "target": ["bilm"]}),
    "t5": ("t5", "lines", T5),
    "gsg": (
        "gsg",
        "sentences",
        {
            **SEQ2SEQ,
            "embedding": ["word", "sinusoidalpos"],
            "tgt_embedding": ["word", "sinusoidalpos"],
            "share_embedding": True,
            "layernorm_positioning": "pre",
        },
    ),
    "bart": ("bart", "sentences", {**SEQ2SEQ, "share_embedding": True}),
    "mt": ("mt", "pairs", {**SEQ2SEQ, "tie_weights": False}),
    "prefixlm": ("prefixlm", "prompts", {**GPT2, "mask": "causal_with_prefix", "embedding": BERT["embedding"]}),
    "llm_sft": ("llm_sft", "instructions", LLAMA),
    "cls": ("cls", "labels", {**BERT, **CLASSES}),
    "cls_mlm": ("cls_mlm", "labels", {**BERT, **CLASSES, "target": ["cls", "mlm"]}),
}


# Name of the dataset -> its file, the objective it is made for. All tokens are in one vocabulary, except those of mt.
DATASETS = {
    "lines": ("lines.txt", "mlm"),
    "sentences": ("sentences.txt", "bert"),
    "labels": ("labels.txt", "cls"),
    "pairs": ("pairs.txt", "mt"),
    "prompts": ("pairs.txt", "prefixlm"),
    "instructions": ("instructions.jsonl", "llm_sft"),
}


def lines_of(name: str, count: int) -> list[str]:
    return (CORPORA / name).read_text("utf-8").split("\n")[:count]


def write_corpora(folder: Path) -> None:
    """The files of `DATASETS`, and source.txt: the first halves of the pairs."""
    if CORPORA.is_dir():
        texts = {
            "lines": lines_of("CLUECorpusSmall_sampled.txt", 200),
            "sentences": lines_of("CLUECorpusSmall_bert_sampled.txt", 2000),
            "pairs": lines_of("news-commentary-v13-en-zh_sampled.txt", 200),
            "labels": lines_of("book_review_cls.txt", 48),
        }
    else:
        write_text(folder / "made_up.txt", 2000, seed=3)
        made_up = (folder / "made_up.txt").read_text("utf-8").split("\n")
        texts = {
            "lines": made_up[:200],
            "sentences": [text for n, line in enumerate(made_up) for text in ([line, ""] if n % 8 == 7 else [line])],
            "pairs": [f"{line}\t{line[::-1]}" for line in made_up[:200]],
            "labels": [f"{n % 2}\t{'一二'[n % 2] * 8}{line}" for n, line in enumerate(made_up[:48])],
        }
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text("\n".join(text) + "\n", encoding="utf-8")
    pairs = [line.split("\t") for line in texts["pairs"] if line.count("\t") == 1]
    (folder / "source.txt").write_text("\n".join(source for source, _ in pairs), encoding="utf-8")
    records = [{"instruction": "翻译成英文", "input": target, "output": source} for source, target in pairs]
    instructions = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    (folder / "instructions.jsonl").write_text(instructions, encoding="utf-8")


def command(*words: str | Path) -> None:
    assert main([str(word) for word in words]) == 0


def write_datasets(folder: Path) -> None:
    """The datasets, and the vocabularies vocab.txt (with sentinels) and source_vocab.txt."""
    write_corpora(folder)
    texts = [folder / f"{name}.txt" for name in ("lines", "sentences", "labels", "pairs")]
    for name, files in (("vocab", texts), ("source_vocab", [folder / "source.txt"])):
        vocabulary = ("--delimiter", "bert", "--min_count", "4", "--output_path", folder / f"{name}.txt")
        command("vocab", "--corpus_path", *files, *vocabulary)
    with (folder / "vocab.txt").open("a", encoding="utf-8") as file:
        file.writelines(f"<extra_id_{number}>\n" for number in range(100))
    for name, (file_name, objective) in DATASETS.items():
        vocabularies = ["--vocab_path", folder / "vocab.txt"]
        if objective == "mt":
            vocabularies = ["--vocab_path", folder / "source_vocab.txt", "--tgt_vocab_path", folder / "vocab.txt"]
        where = ("--corpus_path", folder / file_name, "--dataset_path", folder / name)
        command("preprocess", *where, "--data_processor", objective, *vocabularies)


def entry(folder: Path, name: str, stage: str) -> dict[str, Any]:
    """One training, for `many_runs.py`."""
    objective, dataset, model = TRAININGS[name]
    options: dict[str, Any] = {
        "dataset_path": folder / dataset,
        "data_processor": objective,
        "output_model_path": folder / f"{name}-{stage}",
        "ds_config": stage,
        "total_steps": UPDATES,
        "batch_size": 8,
        "seq_length": 64,
        "tgt_seq_length": 64,
        "learning_rate": 1e-3 if name == "cls" else 3e-3,
        "report_steps": EVERY,
        "dropout": 0.0,
        "max_grad_norm": 1.0,
        "loader_workers": 0,
    }
    if model:
        options["config_path"] = folder / f"{name}.json"
        options["config_path"].write_text(json.dumps(model))
    else:
        options["model"] = "roberta_L-2_H-128"
    words = [str(word) for key, value in options.items() for word in (f"--{key}", value)]
    return {"options": words, "save": False, "stop_after": HALF * EVERY if stage == "zero3" else None}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, run_together: Run) -> Path:
    """The folder with the outputs of all trainings."""
    folder = tmp_path_factory.mktemp("objectives")
    write_datasets(folder)
    plan = folder / "runs.json"
    plan.write_text(json.dumps([entry(folder, name, stage) for name in TRAININGS for stage in STAGES]))
    run_together(2, "tests/runs/many_runs.py", plan, timeout=400, OMP_NUM_THREADS="1")
    return folder


def terms(name: str, trained: Path) -> dict[str, list[float]]:
    """The losses reported under stage 1 by term; reports name them where there are several."""
    reports, targets = metrics(trained / f"{name}-zero1"), OBJECTIVE_SPECS[TRAININGS[name][0]].targets
    labels = ("bilm_forward", "bilm_backward") if "bilm" in targets else targets
    keys = {f"loss_{label}": f"loss_{label}" if len(labels) > 1 else "loss" for label in labels}
    return {term: [report[key] for report in reports] for term, key in keys.items()}


@pytest.mark.parametrize("name", TRAININGS)
def test_every_term_of_the_loss_falls_clearly(name: str, trained: Path) -> None:
    """Each head by itself: in a sum one that learns nothing would not be seen."""
    for term, losses in terms(name, trained).items():
        if term == "loss_sp" and not CORPORA.is_dir():
            continue  # made-up sentences follow one another by chance, so there is nothing to learn
        assert len(losses) == UPDATES // EVERY
        assert losses[-1] < losses[0] - FALL.get(term, 0.5), (term, losses)


def test_the_text_is_real_where_it_is_there(trained: Path) -> None:
    if not CORPORA.parents[1].is_dir():
        pytest.skip("no ../shared here: the text was made up")
    assert (trained / "lines.txt").read_text("utf-8").split("\n")[:200] == lines_of("CLUECorpusSmall_sampled.txt", 200)


@pytest.mark.parametrize("name", TRAININGS)
def test_the_stage_changes_nothing(name: str, trained: Path) -> None:
    """Roundings differ and grow in time, so the first half is compared."""
    one, three = (
        [{term: report[term] for term in report if term.startswith("loss")} for report in metrics(trained / folder)]
        for folder in (f"{name}-zero1", f"{name}-zero3")
    )
    assert len(three) == HALF
    for first, second in zip(one, three, strict=False):
        assert second == pytest.approx(first, rel=1e-4)
    assert three[0] == pytest.approx(one[0], rel=1e-5)
