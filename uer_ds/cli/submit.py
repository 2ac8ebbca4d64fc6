"""Run a pre-training on several nodes: as a SLURM job, or on the hosts of a hostfile by ssh.

Options of the run come after `--`; they are checked here, before the job waits in a queue.
  uer-ds submit --recipe bert_xlarge --nodes 4 --gpus_per_node 8 --time 1-0 -- --dataset_path D --output_model_path O
  uer-ds submit --hostfile hostfile -- --recipe bert_large --dataset_path D --output_model_path O
The job checks its nodes, saves before its time limit, is queued again and goes on by itself. --dry_run only shows, and
says what is wrong with the options all the same.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from uer_ds.cli import pretrain
from uer_ds.cli.parser import Parser
from uer_ds.cli.plan import without_dataset
from uer_ds.config.batches import settle_batches
from uer_ds.config.resources import resource_root
from uer_ds.errors import UserError
from uer_ds.launch.hostfile import LAUNCHERS, check_hosts, check_launcher, read_hostfile
from uer_ds.launch.slurm import TASKS, Job, cores, render, submit

CLONE = Path(__file__).resolve().parents[2]

REQUESTS = ("partition", "account", "time", "qos", "constraint", "exclude", "mem")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to ask SLURM for; everything after `--` belongs to the run."""
    job = parser.add_argument_group("job")
    job.add_argument("--nodes", type=int, default=1, metavar="N", help="nodes (default: 1)")
    job.add_argument("--gpus_per_node", type=int, default=0, metavar="G", help="GPUs of a node; 0: train on CPUs")
    job.add_argument("--processes_per_node", type=int, metavar="P", help="default: one for each GPU, one without")
    job.add_argument("--tasks_per", choices=TASKS, default="node", help="SLURM tasks: one a node, or one a process")
    job.add_argument("--recipe", metavar="NAME", help="the run's recipe (the same as -- --recipe NAME)")
    job.add_argument("--job_name", default="uer_ds", metavar="NAME", help="default: uer_ds")
    for name in REQUESTS:
        job.add_argument(f"--{name}", metavar="X", help=f"sbatch --{name.replace('_', '-')}")
    job.add_argument(
        "--cpus_per_task",
        metavar="X",
        help="sbatch --cpus-per-task; default: 8 for each GPU; without GPUs whole nodes (--exclusive)",
    )
    job.add_argument("--sbatch", action="append", default=[], metavar="'--OPTION=X'", help="any other option of sbatch")
    job.add_argument(
        "--warning_seconds", type=int, default=180, metavar="N", help="save so long before the time limit (default 180)"
    )
    job.add_argument(
        "--retries",
        type=int,
        default=5,
        metavar="N",
        help="starts after a lost node without a new checkpoint (default 5)",
    )
    job.add_argument("--logs", metavar="DIR", help="default: logs in the output folder; all nodes must see it")
    job.add_argument("--python", default=sys.executable, help="Python with uer_ds on the nodes (default: this one)")
    job.add_argument("--hostfile", metavar="FILE", help="no SLURM: check these hosts by ssh, then use `deepspeed`")
    job.add_argument(
        "--launcher", choices=list(LAUNCHERS), default="pdsh", help="how deepspeed reaches the hosts (default: pdsh)"
    )
    job.add_argument("--deepspeed", action="append", default=[], metavar="'--OPTION=X'", help="any option of deepspeed")
    job.add_argument("--dry_run", action="store_true", help="show the script or the command, change nothing")
    parser.add_argument("options", nargs=argparse.REMAINDER, metavar="-- OPTIONS", help="of uer-ds pretrain")


def run(args: argparse.Namespace) -> int:
    """Render and submit, or check the hosts and start."""
    options = [word for i, word in enumerate(args.options) if (i, word) != (0, "--")]
    options += ["--recipe", args.recipe] if args.recipe else []
    if args.hostfile:
        return start_on_hosts(args, options)
    per_node = args.processes_per_node or args.gpus_per_node or 1
    processes = args.nodes * per_node
    output, options = with_output(options, args.job_name, processes)
    job = Job(
        nodes=args.nodes,
        processes_per_node=per_node,
        gpus_per_node=args.gpus_per_node,
        tasks_per=args.tasks_per,
        name=args.job_name,
        requests=[*cores(args.gpus_per_node, args.tasks_per, args.cpus_per_task), *requests(args)],
        warning_seconds=args.warning_seconds,
        retries=args.retries,
        output=str(output.absolute()),
        logs=str(Path(args.logs or output / "logs").absolute()),
        python=args.python,
        clone=str(CLONE) if (CLONE / "pyproject.toml").is_file() else "",
        options=options,
    )
    template = resource_root("launch/slurm") / "launch" / "slurm" / "pretrain.sbatch"
    script = render(job, template.read_text(encoding="utf-8"))
    if args.dry_run:
        print(script, end="", flush=True)
    check_run(options, processes, args.dry_run)
    return 0 if args.dry_run else hand_over(script, Path(job.logs))


def hand_over(script: str, logs: Path) -> int:
    """Submit the job; say how to watch and to stop it."""
    logs.mkdir(parents=True, exist_ok=True)  # SLURM opens the job's log there before the script runs
    (logs / "job.sbatch").write_text(script, encoding="utf-8")
    number = submit(script)
    print(f"job {number}; watch it with: tail -F {logs}/slurm-{number}.log {logs}/rank0.log")
    print(f"to stop it after a save: scancel --signal=USR1 {number} (it is queued again), or scancel {number}")
    return 0


def requests(args: argparse.Namespace) -> list[str]:
    """The lines for sbatch that were given here."""
    given = [(name, getattr(args, name)) for name in REQUESTS]
    return [f"--{name}={value}" for name, value in given if value] + args.sbatch


def parsed(options: Sequence[str], processes: int) -> argparse.Namespace:
    """The run's options, as every one of its `processes` will read them."""
    parser = Parser(prog="uer-ds submit ... --")
    pretrain.add_arguments(parser)
    return parser.parse_args([*pretrain.modernise(list(options)), "--world_size", str(processes)])


def with_output(options: Sequence[str], job_name: str, processes: int) -> tuple[Path, list[str]]:
    """The run's output folder, and the options with it: output/RECIPE or output/JOB_NAME where none is given."""
    paths = pretrain.given_options(parsed(options, processes))["paths"]
    if "output_model_path" in paths:
        return Path(paths["output_model_path"]), list(options)
    folder = Path("output") / Path(paths.get("recipe", job_name)).stem
    return folder, [*options, "--output_model_path", str(folder)]


def check_run(options: Sequence[str], processes: int, dry: bool = False) -> None:
    """Raises the `UserError` that the run itself would end with, before it waits in a queue.

    A dry run may name no dataset yet: the rest is checked then.
    """
    args = parsed(options, processes)
    completion = None
    if dry and "dataset_path" not in pretrain.given_options(args)["data"]:
        completion = without_dataset
        print("uer-ds: no --dataset_path yet; give it behind `--`. All else was checked.", file=sys.stderr)
    settle_batches(pretrain.make_run_config(args, completion), processes)


def start_on_hosts(args: argparse.Namespace, options: Sequence[str]) -> int:
    """Ask every host whether it is fit, then let `deepspeed` start the ranks; replaces this process."""
    hosts = read_hostfile(Path(args.hostfile))
    output, options = with_output(options, args.job_name, sum(hosts.values()))
    command = [*deepspeed_command(args), *options]
    if args.dry_run:
        print(shlex.join(command), flush=True)
    check_run(options, sum(hosts.values()), args.dry_run)
    if args.dry_run:
        return 0
    if len(hosts) > 1:
        check_launcher(args.launcher)
    question = f"PYTHONPATH={shlex.quote(str(CLONE))} {shlex.quote(args.python)} -m uer_ds check-node"
    question += f" --devices {args.gpus_per_node}"
    wrong = check_hosts(list(hosts), question)
    if wrong:
        words = "; ".join(f"{host}: {why}" for host, why in wrong.items())
        raise UserError(
            f"{args.hostfile}: {len(wrong)} of {len(hosts)} hosts cannot take part: {words}. `ssh HOST true` must work "
            "without a password and the same Python must be there; repair them, or take them out of the hostfile."
        )
    output.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    os.execvp(command[0], command)


def deepspeed_command(args: argparse.Namespace) -> list[str]:
    """`deepspeed` of the same Python, up to the run's own options."""
    beside = Path(args.python).parent / "deepspeed"
    door = resource_root("launch/slurm") / "launch" / "pretrain.py"
    script = [str(door)] if door.is_file() else ["--module", "uer_ds", "pretrain"]
    program = str(beside) if beside.is_file() else "deepspeed"
    return [program, "--hostfile", args.hostfile, "--launcher", args.launcher, *args.deepspeed, *script]
