"""Train a task with every setting of a grid and keep the best model:
`uer-ds grid TASK --train_path ... --dev_path ... --learning_rate_list 3e-5 1e-4 --batch_size_list 32 64`.

The trials are stored in an optuna study. The same command again goes on where it was interrupted; several machines that
name the same --study share the work. Under deepspeed, torchrun, mpirun or srun all processes train each trial together.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from uer_ds.cli import finetune
from uer_ds.cli.parser import add_config_options, given_values
from uer_ds.config.data import TokenizerConfig
from uer_ds.config.finetune import TASK_OPTIONS
from uer_ds.config.trials import OF_THE_POINT, GridConfig, GridRun
from uer_ds.errors import UserError
from uer_ds.launch.local import this_program
from uer_ds.launch.place import Place, find_place
from uer_ds.launch.workers import last_line, run_workers, worker_variables

modernise = finetune.modernise


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-command for each task: the options of `uer-ds finetune`, and those of a grid."""
    for task in finetune.add_task_parsers(parser, TASK_OPTIONS).values():
        add_config_options(task, GridConfig, "grid")
        task.add_argument("--helper", action="store_true", help=argparse.SUPPRESS)  # a worker that a grid has started


def run(args: argparse.Namespace) -> int:
    """Search, in this process or in workers of its own."""
    for name in OF_THE_POINT:
        if hasattr(args, name):
            raise UserError(f"--{name} has one value, but a grid tries several; give --{name}_list.")
    config = GridRun(finetune.make_run(args), GridConfig(**given_values(args, GridConfig)))
    place = find_place(os.environ)
    workers = 1 if args.helper else workers_here(config.grid.trials_at_once, place)
    if workers > 1 and run_in_workers(config, args.arguments, workers):
        from uer_ds.train.stopping import REQUEUE

        return REQUEUE
    from uer_ds.finetune.grid import grid  # torch and deepspeed: seconds

    return grid(config, bool(given_values(args, TokenizerConfig)), place, args.helper)


def workers_here(wanted: int | None, place: Place) -> int:
    """Trials at once; one where a launcher has started the processes of a trial."""
    if place.launcher == "none":
        if wanted is not None:
            return wanted
        from uer_ds.engine.machine import accelerators

        return max(1, accelerators()[1])
    if wanted is not None and wanted > 1:
        raise UserError(
            f"--trials_at_once is {wanted}, but {place.launcher} has started {place.world_size} processes, which train "
            "one trial together; leave one of the two out."
        )
    return 1


def run_in_workers(config: GridRun, arguments: list[str], workers: int) -> bool:
    """Let `workers` processes train trials until there are none left; whether a signal has told us to stop.

    What a worker that died has left behind is for the caller to train.
    """
    from uer_ds.engine.cores import cores_here
    from uer_ds.engine.machine import accelerators
    from uer_ds.finetune.grid import open_study
    from uer_ds.finetune.grid_report import News

    devices, cores = accelerators()[1], cores_here()
    variables = [worker_variables(number, workers, devices, cores, os.environ) for number in range(workers)]
    output = Path(config.base.paths.output_model_path)
    news = News(open_study(config, processes=1), config)
    logs = [output / f"worker-{number}.log" for number in range(workers)]
    print(f"{workers} workers; their words are in {logs[0]} to {logs[-1].name}", flush=True)
    command = this_program(["grid", *arguments, "--trials_at_once", "1", "--helper"])
    ends = run_workers(command, variables, logs, news.tell)
    news.tell()
    for log, status in zip(logs, ends.statuses, strict=True):
        if status and not ends.stopped:
            print(f"a worker ended with status {status}: {last_line(log)} (all of it: {log})", flush=True)
    return ends.stopped
