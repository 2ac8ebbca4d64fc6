"""Job scripts as text: what submit writes, what the templates in launch/ say; hostfiles; the check of a node."""

from __future__ import annotations

import dataclasses
import os
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from uer_ds.cli.main import COMMANDS, main
from uer_ds.config.recipes import load_recipe
from uer_ds.errors import UserError
from uer_ds.launch.hostfile import LAUNCHERS, check_hosts, check_launcher, read_hostfile
from uer_ds.launch.slurm import Job, cores, render, submit

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = (ROOT / "launch/slurm/pretrain.sbatch").read_text(encoding="utf-8")
JOB = Job(
    nodes=4,
    processes_per_node=8,
    gpus_per_node=8,
    tasks_per="node",
    name="large",
    requests=["--partition=gpu", "--time=1-0"],
    warning_seconds=300,
    retries=3,
    output="/data/my run",
    logs="/data/my run/logs",
    python="/opt/python",
    clone="",
    options=["--recipe", "bert_large", "--dataset_path", "a", "b c"],
)


def settings(script: str) -> dict[str, str]:
    """The variables of the script's upper part, as bash understands them."""
    upper = script[: script.index("# ---- below")]
    names = "PYTHON CLONE OUTPUT LOGS DEVICES PROCESSES RETRIES"
    show = "".join(f'echo "{name}=${name}"\n' for name in names.split()) + 'printf "<%s>" "${OPTIONS[@]}"'
    lines = subprocess.run(["bash"], input=upper + show, capture_output=True, text=True, check=True).stdout.splitlines()
    return {**dict(line.split("=", 1) for line in lines[:-1]), "OPTIONS": lines[-1]}


def requests(script: str) -> list[str]:
    return [line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH ")]


def test_the_script_of_a_job() -> None:
    script = render(JOB, TEMPLATE)
    asked = requests(script)
    for request in ("--nodes=4", "--ntasks-per-node=1", "--gpus-per-node=8", "--signal=USR1@300", "--requeue"):
        assert request in asked
    assert asked[-2:] == ["--partition=gpu", "--time=1-0"]
    assert settings(script) == {
        "PYTHON": "/opt/python",
        "CLONE": "",
        "OUTPUT": "/data/my run",
        "LOGS": "/data/my run/logs",
        "DEVICES": "8",
        "PROCESSES": "32",
        "RETRIES": "3",
        "OPTIONS": "<--recipe><bert_large><--dataset_path><a><b c>",
    }
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_one_task_a_gpu() -> None:
    script = render(dataclasses.replace(JOB, tasks_per="gpu"), TEMPLATE)
    assert "--ntasks-per-node=8" in requests(script)
    assert settings(script)["PROCESSES"] == "32"


def test_on_cpus_no_gpu_is_asked_for() -> None:
    script = render(dataclasses.replace(JOB, gpus_per_node=0, processes_per_node=2), TEMPLATE)
    assert not [request for request in requests(script) if "gpu" in request and "partition" not in request]
    assert settings(script)["PROCESSES"] == "8"


@pytest.mark.parametrize(
    ("gpus", "tasks_per", "given", "expected"),
    [
        (8, "node", None, "--cpus-per-task=64"),
        (8, "gpu", None, "--cpus-per-task=8"),
        (8, "node", "16", "--cpus-per-task=16"),
        (0, "node", None, "--exclusive"),
    ],
)
def test_a_task_gets_more_than_one_core(gpus: int, tasks_per: str, given: str | None, expected: str) -> None:
    assert cores(gpus, tasks_per, given) == [expected]


FAKE_COMMANDS = {
    "scontrol": """#!/bin/bash
case "$1 $2" in
"show hostnames") echo n1 ;;
"show node") echo "   NodeAddr=127.0.0.1 NodeHostName=n1" ;;
requeue*) touch "$FOLDER/requeued" ;;
esac""",
    "srun": """#!/bin/bash
echo "$SRUN_CPUS_PER_TASK" >"$FOLDER/cores"
case "$*" in *check-node*) exit 0 ;; esac
[ -z "$MAKES" ] || mkdir -p "$FOLDER/run/$MAKES"
exit "$ENDS"
""",
}


class FakeSlurm:
    """The job script as SLURM starts it again and again, with commands that do as they are told."""

    def __init__(self, folder: Path):
        self.folder = folder
        for name, text in FAKE_COMMANDS.items():
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        job = dataclasses.replace(JOB, python="python3", retries=2, output=f"{folder}/run", logs=f"{folder}/run/logs")
        self.script = render(job, TEMPLATE)

    def start(self, ends: int, makes: str = "", **variables: str) -> tuple[int, bool, str]:
        """One start whose run `ends` so and `makes` a checkpoint: status, whether it is queued again, what is said."""
        environ = {"PATH": f"{self.folder}:{os.environ['PATH']}", "FOLDER": str(self.folder), "ENDS": str(ends)}
        environ |= {"MAKES": makes, "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n1", "SLURM_JOB_NUM_NODES": "1"}
        environ |= {"SLURM_CPUS_ON_NODE": "24", "SLURM_NTASKS_PER_NODE": "2", **variables}
        done = subprocess.run(["bash"], input=self.script, env=environ, capture_output=True, text=True)
        requeued = self.folder / "requeued"
        again = requeued.exists()
        requeued.unlink(missing_ok=True)
        return done.returncode, again, done.stderr


def test_only_failures_in_a_row_end_a_job(tmp_path: Path) -> None:
    slurm = FakeSlurm(tmp_path)
    for number in (9, 10, 11, 12):  # four lost nodes, each after a new checkpoint; 10 is newer than 9
        status, again, said = slurm.start(69, f"checkpoint-{number}")
        assert (status, again) == (75, True)
        assert "failure 1 of at most 2" in said
    assert slurm.start(137)[:2] == (75, True)
    status, again, said = slurm.start(69)
    assert (status, again) == (69, False)
    assert "failure 3; given up" in said


def test_stops_without_a_new_checkpoint_are_failures(tmp_path: Path) -> None:
    """A time limit that is too short even for the start must not begin anew for ever."""
    slurm = FakeSlurm(tmp_path)
    for updates in range(1, 5):
        status, again, said = slurm.start(75, f"checkpoint-{updates}")
        assert (status, again) == (75, True)
        assert "saved and stopped on request" in said
    assert [slurm.start(75)[:2] for _ in range(3)] == [(75, True), (75, True), (75, False)]


def test_a_mistake_ends_a_job_at_once(tmp_path: Path) -> None:
    slurm = FakeSlurm(tmp_path)
    assert slurm.start(2)[:2] == (2, False)
    assert slurm.start(0, "checkpoint-1")[:2] == (0, False)


def test_steps_get_the_cores_of_the_job(tmp_path: Path) -> None:
    slurm = FakeSlurm(tmp_path)
    slurm.start(0)
    assert (tmp_path / "cores").read_text() == "12\n"
    slurm.start(0, SLURM_CPUS_PER_TASK="5")
    assert (tmp_path / "cores").read_text() == "5\n"


def test_a_job_without_nodes_is_refused() -> None:
    with pytest.raises(UserError, match="--nodes is 0"):
        dataclasses.replace(JOB, nodes=0)


def test_without_slurm_submit_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="sbatch is not on PATH"):
        submit("#!/bin/bash\n")


def test_the_script_as_it_lies_there_is_whole() -> None:
    """By hand it asks for what its own variables say, and its recipe exists."""
    found, asked = settings(TEMPLATE), requests(TEMPLATE)
    nodes = next(int(request.split("=")[1]) for request in asked if request.startswith("--nodes="))
    assert f"--gpus-per-node={found['DEVICES']}" in asked
    assert cores(int(found["DEVICES"]), "node", None)[0] in asked
    assert int(found["PROCESSES"]) == nodes * int(found["DEVICES"])
    assert load_recipe(found["OPTIONS"].split("><")[1])
    assert found["LOGS"].startswith(f"{found['OUTPUT']}/")
    assert found["OPTIONS"].endswith(f"<--output_model_path><{found['OUTPUT']}>")


def test_kubernetes_template() -> None:
    service, job = yaml.safe_load_all((ROOT / "launch/kubernetes/pretrain.yaml").read_text(encoding="utf-8"))
    assert (service["kind"], job["kind"]) == ("Service", "Job")
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    variables = {entry["name"]: entry["value"] for entry in container["env"]}
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    assert pod["subdomain"] == service["metadata"]["name"]
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"] == int(variables["NODES"])
    assert container["resources"]["limits"]["nvidia.com/gpu"] == int(variables["GPUS"])
    assert pod["restartPolicy"] == "Never"  # what podFailurePolicy needs
    by_status = {
        status: rule["action"]
        for rule in spec["podFailurePolicy"]["rules"]
        for status in rule.get("onExitCodes", {}).get("values", [])
    }
    assert by_status == {2: "FailJob", 69: "Ignore", 75: "Ignore"}
    claims = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == claims


def test_a_pod_starts_its_own_ranks(tmp_path: Path) -> None:
    _, job = yaml.safe_load_all((ROOT / "launch/kubernetes/pretrain.yaml").read_text(encoding="utf-8"))
    fake = tmp_path / "uer-ds"
    fake.write_text('#!/bin/bash\necho "$@"\n')
    fake.chmod(0o755)
    (line,) = job["spec"]["template"]["spec"]["containers"][0]["args"]
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "NODES": "2", "GPUS": "4", "JOB_COMPLETION_INDEX": "1"}
    said = subprocess.run(["bash", "-c", line], env=environ, capture_output=True, text=True, check=True).stdout.split()
    assert said[:8] == ["pretrain", "--world_size", "8", "--gpu_ranks", "4", "5", "6", "7"]
    name = job["metadata"]["name"]
    assert f"tcp://{name}-0.{job['spec']['template']['spec']['subdomain']}:29500" in said


def test_the_example_hostfile_can_be_read() -> None:
    assert read_hostfile(ROOT / "launch/hostfile.example") == {"node1": 8, "node2": 8}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "names no host"),
        ("# only this\n", "names no host"),
        ("node1 slots=8\nnode2\n", "line 2: found 'node2'; expected HOST slots=N"),
        ("node1 slots=0\n", "line 1"),
        ("node1 slots=8\nnode1 slots=8\n", "line 2: node1 is there twice"),
    ],
)
def test_a_bad_hostfile_is_named(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text(text)
    with pytest.raises(UserError, match=words) as caught:
        read_hostfile(path)
    assert "hosts" in str(caught.value)


FAKE_SSH = """#!/bin/bash
while [ "$1" = -o ]; do shift 2; done
[ "$1" = good ] && exec bash -c "$2"
echo "ssh: connect to host $1 port 22: No route to host" >&2
exit 255
"""


def test_hosts_that_do_not_answer_are_found(tmp_path: Path) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text(FAKE_SSH)
    ssh.chmod(0o755)
    wrong = check_hosts(["good", "bad"], "true", [str(ssh), "-o", "x"])
    assert wrong == {"bad": "ssh: connect to host bad port 22: No route to host (status 255)"}
    unfit = check_hosts(["good"], "echo 'uer-ds: node good: no devices.' >&2; exit 2", [str(ssh)])
    assert unfit == {"good": "node good: no devices. (status 2)"}
    assert "not installed" in check_hosts(["good"], "true", ["/nowhere/ssh"])["good"]
    assert "no answer within 0.2" in check_hosts(["good"], "sleep 5", [str(ssh)], timeout=0.2)["good"]


def test_the_launcher_of_several_hosts_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"by pdsh, which is not on PATH; apt-get install pdsh, or start each host by"):
        check_launcher("pdsh")
    (tmp_path / "ompi_info").write_text("")
    (tmp_path / "ompi_info").chmod(0o755)
    check_launcher("openmpi")
    with pytest.raises(UserError, match=r"not on PATH; apt-get install pdsh, or --launcher openmpi\."):
        check_launcher("pdsh")


def test_launchers_are_those_of_deepspeed() -> None:
    runner = pytest.importorskip("deepspeed.launcher.runner")
    assert set(LAUNCHERS) == set(runner.LAUNCHER_CLASSES)


def test_a_shared_folder_that_is_not_shared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-node", "--shared_file", str(tmp_path / "absent")]) == 2
    said = capsys.readouterr().err
    assert "absent is not there, which the first node has written" in said


def test_the_scripts_use_commands_that_exist() -> None:
    for path in ("launch/slurm/pretrain.sbatch", "launch/mpi/pretrain.sh"):
        words = shlex.split((ROOT / path).read_text(encoding="utf-8").replace("\\\n", " "), comments=True)
        used = {words[i + 1] for i, word in enumerate(words) if word == "uer_ds" and words[i - 1] == "-m"}
        assert used and used <= set(COMMANDS)
        subprocess.run(["bash", "-n", str(ROOT / path)], check=True)
