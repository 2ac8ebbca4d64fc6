"""The model zoo page's spellings become today's options."""

from __future__ import annotations

import pytest

from uer_ds.cli.compat import (
    modernise_finetune,
    modernise_preprocess,
    modernise_pretrain,
    say_modern_form,
    split_arguments,
)
from uer_ds.errors import UserError


def options(arguments: list[str]) -> dict[str, list[str]]:
    return dict(split_arguments(arguments).options)


def test_roberta_command_of_the_page() -> None:
    given = ["--embedding", "word_pos_seg", "--encoder", "transformer", "--mask", "fully_visible", "--target", "mlm"]
    assert options(modernise_pretrain(given)) == {
        "embedding": ["word", "pos", "seg"],
        "encoder": ["transformer"],
        "mask": ["fully_visible"],
        "data_processor": ["mlm"],
        "target": ["mlm"],
    }


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("bert", {"data_processor": ["bert"], "target": ["mlm", "sp"]}),
        ("seq2seq", {"data_processor": ["mt"], "target": ["lm"], "decoder": ["transformer"]}),
        ("t5", {"data_processor": ["t5"], "target": ["lm"], "decoder": ["transformer"]}),
        ("prefixlm", {"data_processor": ["prefixlm"], "target": ["lm"], "mask": ["causal_with_prefix"]}),
    ],
)
def test_old_targets_were_whole_objectives(target: str, expected: dict[str, list[str]]) -> None:
    assert options(modernise_pretrain(["--target", target])) == expected


def test_early_names_of_embedding_and_encoder() -> None:
    assert options(modernise_pretrain(["--embedding", "gpt", "--encoder", "gpt"])) == {
        "embedding": ["word", "pos"],
        "encoder": ["transformer"],
        "mask": ["causal"],
    }


def test_modern_commands_stay_as_they_are() -> None:
    given = ["--embedding", "word", "pos", "--data_processor", "mlm", "--target", "mlm", "--flag"]
    assert options(modernise_pretrain(given)) == options(given)
    assert say_modern_form("pretrain", given, modernise_pretrain(given)) is None


def test_what_was_understood_is_said() -> None:
    given = ["--embedding=word_pos", "--target", "lm"]
    line = say_modern_form("pretrain", given, modernise_pretrain(given))
    assert line == "pretrain: read as --embedding word pos --data_processor lm"


def test_ambiguous_targets_are_refused() -> None:
    with pytest.raises(UserError, match="old name of a whole objective"):
        modernise_pretrain(["--target", "t5", "lm"])


def test_preprocess_target_is_the_data_processor() -> None:
    assert options(modernise_preprocess(["--corpus_path", "a", "--target", "seq2seq"])) == {
        "corpus_path": ["a"],
        "data_processor": ["mt"],
    }
    with pytest.raises(UserError, match="given together"):
        modernise_preprocess(["--target", "mlm", "--data_processor", "mlm"])


def test_paths_that_moved() -> None:
    assert options(modernise_pretrain(["--config_path", "models/rnn_config.json"]))["config_path"] == [
        "rnn/lstm_config"
    ]


def test_fine_tuning_has_no_objective() -> None:
    given = ["--target", "lm", "--encoder", "gpt", "--embedding", "bert", "--config_path", "models/rnn_config.json"]
    assert options(modernise_finetune(given)) == {
        "target": ["lm"],
        "encoder": ["transformer"],
        "mask": ["causal"],
        "embedding": ["word", "pos", "seg"],
        "config_path": ["rnn/lstm_config"],
    }
