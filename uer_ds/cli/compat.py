"""The spellings of UER-py's older releases and of the model zoo page -> today's options.

`modernise` works on the list of arguments, before parsing; what it changed is said once, so that users learn the modern
form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from uer_ds.errors import UserError
from uer_ds.objective_specs import OBJECTIVE_SPECS, ObjectiveSpec, objective_spec
from uer_ds.registry import EMBEDDINGS, TARGETS

EMBEDDING_NAMES = {"bert": ["word", "pos", "seg"], "gpt": ["word", "pos"]}
ENCODER_MASKS = {"bert": "fully_visible", "gpt": "causal"}
CONFIG_PATHS = {
    "models/rnn_config.json": "rnn/lstm_config",
    "models/birnn_config.json": "rnn/bilstm_config",
    "models/gatedcnn_9_config.json": "cnn/gatedcnn_9_config",
    "models/gatedcnn_13_config.json": "cnn/gatedcnn_13_config",
    "models/bert_base_config.json": "bert/base_config",
    "models/bert_large_config.json": "bert/large_config",
}
"""Paths of the page that moved. (The flat bert_tiny, bert_small and bert_xlarge were other sizes: files of their
own.)"""


@dataclass
class Arguments:
    """What stands before the first option, and the options with their values in the order given."""

    leading: list[str]
    options: list[tuple[str, list[str]]]

    def get(self, name: str) -> list[str] | None:
        """The values of the last `--name`, None when it was not given."""
        found = [values for option, values in self.options if option == name]
        return found[-1] if found else None

    def put(self, name: str, values: list[str]) -> None:
        """Set `--name`, in place of what was given."""
        self.options = [(option, old) for option, old in self.options if option != name] + [(name, values)]

    def default(self, name: str, values: list[str]) -> None:
        """Set `--name` unless it was given."""
        if self.get(name) is None:
            self.put(name, values)

    def to_list(self) -> list[str]:
        """Back to a list of arguments."""
        return self.leading + [word for name, values in self.options for word in (f"--{name}", *values)]


def split_arguments(arguments: Sequence[str]) -> Arguments:
    """Group a list of arguments by option; understands `--name value ...` and `--name=value`."""
    result = Arguments([], [])
    for word in arguments:
        if word.startswith("--") and len(word) > 2:
            name, equals, value = word[2:].partition("=")
            result.options.append((name, [value] if equals else []))
        elif result.options:
            result.options[-1][1].append(word)
        else:
            result.leading.append(word)
    return result


def modernise_pretrain(arguments: Sequence[str]) -> list[str]:
    """Today's form of a pre-training command line."""
    given = split_arguments(arguments)
    _model(given)
    _objective(given)
    return given.to_list()


def modernise_finetune(arguments: Sequence[str]) -> list[str]:
    """Today's form of a command line of fine-tuning, which has no objective of pre-training."""
    given = split_arguments(arguments)
    _model(given)
    return given.to_list()


def _model(given: Arguments) -> None:
    _embeddings(given)
    _encoder(given)
    path = (given.get("config_path") or [""])[0]
    if path in CONFIG_PATHS:
        given.put("config_path", [CONFIG_PATHS[path]])


def modernise_preprocess(arguments: Sequence[str]) -> list[str]:
    """Today's form of a preprocessing command line: `--target X` was what `--data_processor` is."""
    given = split_arguments(arguments)
    target = given.get("target")
    if target is None:
        return given.to_list()
    if given.get("data_processor") is not None:
        raise UserError(
            f"--target {' '.join(target)} (the old spelling) and --data_processor are given together; "
            "keep --data_processor only."
        )
    given.options = [(name, values) for name, values in given.options if name != "target"]
    given.put("data_processor", [_modern_name(name) for name in target])
    return given.to_list()


def _embeddings(given: Arguments) -> None:
    for option in ("embedding", "tgt_embedding"):
        values = given.get(option)
        if values and len(values) == 1 and values[0] not in EMBEDDINGS:
            given.put(option, EMBEDDING_NAMES.get(values[0]) or values[0].split("_"))


def _encoder(given: Arguments) -> None:
    name = (given.get("encoder") or [""])[0]
    if name in ENCODER_MASKS:
        given.put("encoder", ["transformer"])
        given.default("mask", [ENCODER_MASKS[name]])


def _objective(given: Arguments) -> None:
    """`--target X` named a whole objective where X is no target of a model, or stands alone."""
    targets = given.get("target") or []
    named = [_modern_name(name) for name in targets]
    old = [
        (name, OBJECTIVE_SPECS[modern])
        for name, modern in zip(targets, named, strict=True)
        if name not in TARGETS and modern in OBJECTIVE_SPECS
    ]
    if old and (len(targets) > 1 or given.get("data_processor") is not None):
        name, spec = old[0]
        raise UserError(
            f"--target {' '.join(targets)}: {name!r} is the old name of a whole objective and cannot be combined; "
            f"say --data_processor {spec.name} --target {' '.join(spec.targets)}."
        )
    if len(targets) == 1 and given.get("data_processor") is None and named[0] in OBJECTIVE_SPECS:
        _whole_objective(given, OBJECTIVE_SPECS[named[0]])


def _whole_objective(given: Arguments, spec: ObjectiveSpec) -> None:
    """What an old `--target X` meant for the data and for the model."""
    given.put("data_processor", [spec.name])
    given.put("target", list(spec.targets))
    if spec.decoder:
        given.default("decoder", ["transformer"])
    if spec.mask:
        given.default("mask", [spec.mask])


def _modern_name(name: str) -> str:
    """Today's name of the objective that a release of UER-py called `name`; other words are left alone."""
    try:
        return objective_spec(name).name
    except KeyError:
        return name


def say_modern_form(command: str, given: Sequence[str], modern: Sequence[str]) -> str | None:
    """One line with today's form when it differs from what was given, else None."""
    before, after = split_arguments(given), split_arguments(modern)
    names = [name for name in dict(after.options) if before.get(name) != after.get(name)]
    if not names:
        return None
    words = " ".join(f"--{name} {' '.join(after.get(name) or [])}" for name in names)
    return f"{command}: read as {words}"
