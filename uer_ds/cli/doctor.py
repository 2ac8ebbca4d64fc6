"""Look at everything that a long run needs before it is started: versions, devices, network, MPI, SLURM, disks,
compilers, the dataset's checksums, two updates. Each line says ok, warning or error, and what to do.

Give it the options of the run, and start it as the run will be started:
  uer-ds doctor
  deepspeed --module uer_ds doctor --dataset_path D --output_model_path O --ds_config zero2
  srun uer-ds doctor --recipe bert_base --dataset_path D --output_model_path O
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from uer_ds.cli import pretrain
from uer_ds.errors import UserError
from uer_ds.launch.local import share_here, start_processes, this_program
from uer_ds.launch.place import find_place

if TYPE_CHECKING:
    from uer_ds.doctor.visit import Subject

modernise = pretrain.modernise


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of a run, and how patient the doctor is."""
    group = parser.add_argument_group("doctor")
    group.add_argument("--no_checksums", action="store_true", help="do not read every byte of the datasets")
    group.add_argument(
        "--timeout_minutes", type=float, default=3.0, metavar="N", help="wait so long for the others (default: 3)"
    )
    pretrain.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Visit this process's place; 0 when a run would start, 1 when not."""
    place = find_place(os.environ)
    if share := share_here(place, args.world_size, args.gpu_ranks, args.master_ip):
        return start_processes(share, this_program(["doctor", *args.arguments]), args.rank_logs)
    from uer_ds.doctor.visit import visit

    return visit(place, make_subject(args))


def make_subject(args: argparse.Namespace) -> Subject:
    """What to look at; options that do not make a run are findings too."""
    from uer_ds.doctor.findings import error, ok
    from uer_ds.doctor.visit import Subject

    config, findings = None, []
    args.output_model_path = getattr(args, "output_model_path", ".")
    if not hasattr(args, "dataset_path"):
        findings.append(ok("options", "no --dataset_path: neither dataset nor training is looked at"))
    else:
        try:
            config = pretrain.make_run_config(args)
        except UserError as mistake:
            findings.append(error("options", str(mistake), "mend the options; the machine is looked at all the same"))
    output = Path(args.output_model_path)
    return Subject(config, findings, output, not args.no_checksums, args.timeout_minutes)
