"""Say before a run what it will take: memory of every ZeRO stage, largest micro-batch, tokens a second, days, money.

Give it the options of `uer-ds pretrain` and the machines; it needs neither a dataset nor a GPU:
  uer-ds plan --recipe bert_base --gpu h100 --nodes 4 --gpus_per_node 8 --price_per_gpu_hour 2.5
  uer-ds plan --model roberta_L-12_H-768 --data_processor mlm --seq_length 512 --batch_size 64 --gpu 4090
docs/plan.md says how the numbers come about and how far they were checked.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from uer_ds.cli import pretrain
from uer_ds.cli.models import VOCABULARY, aligned
from uer_ds.cli.parser import add_config_options, given_values
from uer_ds.config.batches import settle_batches
from uer_ds.config.data import SEQ_LENGTH, DataConfig
from uer_ds.config.options import Options, option
from uer_ds.config.run import AUTO, RunConfig
from uer_ds.errors import UserError
from uer_ds.objective_specs import OBJECTIVE_SPECS
from uer_ds.plan.cluster import DEVICES, EFFICIENCY, Cluster, device

modernise = pretrain.modernise

DEVICE = "h100"
ENGINE = "zero1_bf16"
"""What is planned for on GPUs where nobody names a DeepSpeed JSON; only its precision matters."""

OWN_FIGURES = ("gpu_memory_gb", "gpu_tflops", "node_bandwidth_gb", "network_bandwidth_gb")
"""Options that replace the field of `Device` of their name, without gpu_."""


@dataclasses.dataclass(frozen=True)
class Machines(Options):
    """What is planned for."""

    gpu: str = option(DEVICE, f"one of {', '.join(DEVICES)}")
    nodes: int = option(1, "machines", least=1)
    gpus_per_node: int = option(1, "devices of each", least=1)
    gpu_memory_gb: float | None = option(None, "memory of a device in GB; default: the card's", above=0)
    gpu_tflops: float | None = option(None, "peak of a device in TFLOP/s, bfloat16; default: the card's", above=0)
    node_bandwidth_gb: float | None = option(
        None, "GB/s between the devices of a node, one direction; default: the card's", above=0
    )
    network_bandwidth_gb: float | None = option(
        None, "GB/s of a node's network, one direction; default: the card's", above=0
    )
    efficiency: float = option(EFFICIENCY, "share of the peak that products reach", above=0, most=1)
    price_per_gpu_hour: float | None = option(None, "price of a device for an hour", above=0)
    document_tokens: int | None = option(None, "mean length of documents in packed rows; default: a whole row", least=1)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The machines, then the options of a run."""
    add_config_options(parser, Machines, "machines")
    parser.add_argument(
        "--vocab_size", type=int, default=argparse.SUPPRESS, metavar="N", help="words of the vocabulary"
    )
    parser.add_argument("--json", metavar="FILE", help="write all figures to this file")
    pretrain.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print the plan."""
    from uer_ds.plan import choices, report  # torch

    machines = Machines(**given_values(args, Machines))
    cluster = make_cluster(machines)
    config, vocabulary = make_run_config(args, cluster)
    plan = choices.plan_of(config, cluster.processes, cluster.device.kind, machines.document_tokens)
    found = list(choices.choices(plan, cluster))
    chosen = choices.best(found)
    print("\n".join(report.introduction(plan, cluster, vocabulary)), end="\n\n")
    print("\n".join(aligned(report.table(plan, cluster, found), report.NUMBERS)), end="\n\n")
    print(report.recommendation(plan, cluster, chosen, words(args.arguments)))
    if args.json:
        Path(args.json).write_text(json.dumps(report.as_json(plan, cluster, found, chosen), indent=1) + "\n")
    return 0


def make_cluster(machines: Machines) -> Cluster:
    """The machines as the options describe them."""
    given = {name.removeprefix("gpu_"): getattr(machines, name) for name in OWN_FIGURES}
    own = {field: figure for field, figure in given.items() if figure is not None}
    chosen = dataclasses.replace(device(machines.gpu), **own)
    price = machines.price_per_gpu_hour
    return Cluster(machines.gpu, chosen, machines.nodes, machines.gpus_per_node, machines.efficiency, price)


def make_run_config(args: argparse.Namespace, cluster: Cluster) -> tuple[RunConfig, str]:
    """The run on all processes of the cluster, and where its vocabulary comes from."""
    args.world_size = cluster.processes
    if not hasattr(args, "output_model_path"):
        args.output_model_path = "."
    if not hasattr(args, "ds_config") and not hasattr(args, "recipe") and cluster.device.kind != "cpu":
        args.ds_config = ENGINE
    said = []

    def completion(
        data: dict[str, Any], model: dict[str, Any], tokenizers: tuple[dict[str, Any], dict[str, Any]]
    ) -> tuple[DataConfig, dict[str, Any]]:
        if "dataset_path" in data:
            said.append("the dataset's")
            return pretrain.complete(data, model, tokenizers)
        said.append(vocabulary(model, tokenizers[0])[1])
        return without_dataset(data, model, tokenizers)

    config = pretrain.make_run_config(args, completion)
    if config.train.batch_size == AUTO:
        config = with_largest_batch(config, cluster)
    if config.train.tensor_parallel_size > 1:
        raise UserError("plan knows no --tensor_parallel_size; leave it out and compare ZeRO stage 3.")
    return settle_batches(config, cluster.processes)[0], said[0]


def without_dataset(
    data: dict[str, Any], model: dict[str, Any], tokenizers: tuple[dict[str, Any], dict[str, Any]]
) -> tuple[DataConfig, dict[str, Any]]:
    """As `pretrain.complete`, where there is no dataset yet: a usual vocabulary and the model's own objective."""
    size, _ = vocabulary(model, tokenizers[0])
    processor = data.get("data_processor") or model.get("data_processor") or usual_objective(model)
    usual = {"seq_length": SEQ_LENGTH, "tgt_seq_length": SEQ_LENGTH}
    whole = DataConfig(**{**usual, **data, "data_processor": processor})
    return whole, {**model, "vocab_size": size, "data_processor": processor}


def with_largest_batch(config: RunConfig, cluster: Cluster) -> RunConfig:
    """`config` with the micro-batch that --batch_size auto would choose; one row where its engine fits none."""
    from uer_ds.plan import choices  # torch

    plan = choices.plan_of(config, cluster.processes, cluster.device.kind)
    rows = choices.largest_batch(plan, (1 - choices.MARGIN) * cluster.device.memory_gb * 1e9)
    return dataclasses.replace(config, train=dataclasses.replace(config.train, batch_size=max(1, rows)))


def vocabulary(model: dict[str, Any], tokenizer: dict[str, Any]) -> tuple[int, str]:
    """Its size, and who says so."""
    if "vocab_path" in tokenizer or "spm_model_path" in tokenizer:
        from uer_ds.tokenizers import load_tokenizer

        lower = tokenizer.get("do_lower_case", "true") == "true"
        return load_tokenizer(**{**tokenizer, "do_lower_case": lower}).vocab_size, "of the vocabulary's file"
    if model.get("vocab_size"):
        return model["vocab_size"], "as given"
    return VOCABULARY, "as google_zh_vocab.txt has; else --vocab_size or --vocab_path"


def usual_objective(model: dict[str, Any]) -> str:
    """The first objective with labels for the model's targets."""
    target = tuple(model.get("target", ("mlm",)))
    decoder = bool(model.get("decoder"))
    fitting = (s.name for s in OBJECTIVE_SPECS.values() if s.targets == target and s.decoder == decoder)
    return next(fitting, "mlm")


OURS = ("--json", *(f"--{field.name}" for field in dataclasses.fields(Machines)))
REPLACED = ("--ds_config", "--batch_size", "--vocab_size")


def words(given: list[str]) -> str:
    """The options of the run itself, without ours and without those that the recommendation replaces."""
    left, drop = [], {*OURS, *REPLACED}
    skipping = False
    for word in given:
        if word.startswith("--"):
            skipping = word.split("=")[0] in drop or word == "--deepspeed_checkpoint_activations"
        if not skipping:
            left.append(word)
    return " ".join(left)
