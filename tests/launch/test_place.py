"""Every launcher's variables give the same picture of who is who."""

from __future__ import annotations

import pytest

from uer_ds.errors import UserError
from uer_ds.launch.address import shared_address
from uer_ds.launch.local import joint_status, named_share, parse_master, share_here, task_share
from uer_ds.launch.place import Place, find_place, first_node, tasks_on_node


def test_nothing_set_is_one_process() -> None:
    place = find_place({})
    assert (place.launcher, place.rank, place.world_size, place.local_world_size) == ("none", 0, 1, 1)


def test_deepspeed_and_torchrun() -> None:
    variables = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "29501"}
    assert find_place({**variables, "LOCAL_SIZE": "4"}) == Place("deepspeed", 5, 8, 1, 4, "a", 29501)
    torchrun = find_place({**variables, "LOCAL_WORLD_SIZE": "4", "TORCHELASTIC_RUN_ID": "x"})
    assert (torchrun.launcher, torchrun.local_world_size) == ("torchrun", 4)


def test_a_launcher_inside_an_allocation_wins_over_the_allocation() -> None:
    inside = {"RANK": "1", "WORLD_SIZE": "2", "SLURM_PROCID": "0", "SLURM_STEP_ID": "0", "OMPI_COMM_WORLD_SIZE": "9"}
    assert find_place(inside).world_size == 2


def test_open_mpi_on_one_machine_needs_no_talk() -> None:
    def variables(rank: int) -> dict[str, str]:
        names = {"RANK": rank, "SIZE": 2, "LOCAL_RANK": rank, "LOCAL_SIZE": 2}
        return {f"OMPI_COMM_WORLD_{name}": str(value) for name, value in names.items()} | {"PMIX_NAMESPACE": "job-7"}

    places = [find_place(variables(rank)) for rank in range(2)]
    assert [p.rank for p in places] == [0, 1]
    assert places[0].address == "127.0.0.1"
    assert places[0].port == places[1].port


def test_mpi_over_machines_has_to_ask() -> None:
    names = {"RANK": 3, "SIZE": 4, "LOCAL_RANK": 1, "LOCAL_SIZE": 2}
    place = find_place({f"OMPI_COMM_WORLD_{name}": str(value) for name, value in names.items()})
    assert place.address == ""


def test_slurm_step() -> None:
    variables = {
        "SLURM_STEP_ID": "0",
        "SLURM_PROCID": "2",
        "SLURM_STEP_NUM_TASKS": "3",
        "SLURM_LOCALID": "0",
        "SLURM_NODEID": "1",
        "SLURM_STEP_TASKS_PER_NODE": "2,1",
        "SLURM_STEP_NODELIST": "gpu[07-08]",
        "SLURM_JOB_ID": "42",
        "PATH": "",
    }
    place = find_place(variables)
    assert (place.rank, place.world_size, place.local_rank, place.local_world_size) == (2, 3, 0, 1)
    assert place.address == "gpu07"
    assert 20000 <= place.port < 30000


def test_slurms_pmi_plugin_is_still_slurm() -> None:
    step = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2", "SLURM_LOCALID": "0"}
    place = find_place({**step, "SLURM_TASKS_PER_NODE": "1(x2)", "PMI_RANK": "1", "PMI_SIZE": "2"})
    assert (place.launcher, place.local_world_size) == ("srun", 1)


def test_mpich() -> None:
    names = {"PMI_RANK": "3", "PMI_SIZE": "4", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2"}
    place = find_place(names)
    assert (place.rank, place.local_rank, place.local_world_size, place.address) == (3, 1, 2, "")


def test_batch_script_of_slurm_is_not_a_step() -> None:
    assert find_place({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}).world_size == 1


@pytest.mark.parametrize(
    ("text", "name"), [("n1", "n1"), ("n1,n2", "n1"), ("gpu[07-09,12],cpu1", "gpu07"), ("login,gpu[1-2]", "login")]
)
def test_first_node(text: str, name: str) -> None:
    assert first_node(text) == name


def test_tasks_on_node() -> None:
    assert [tasks_on_node("2(x3),1", node) for node in range(4)] == [2, 2, 2, 1]


def test_incomplete_variables_are_named() -> None:
    with pytest.raises(UserError, match="WORLD_SIZE is 'many'"):
        find_place({"RANK": "0", "WORLD_SIZE": "many"})


def test_page_command_starts_local_processes() -> None:
    share = named_share(8, [], "tcp://localhost:12345")
    assert share.ranks == tuple(range(8))
    place = find_place(share.variables(3))
    assert place == Place("deepspeed", 3, 8, 3, 8, "127.0.0.1", 12345)


def test_second_node_of_a_page_command() -> None:
    share = named_share(16, range(8, 16), "tcp://10.0.0.1:777")
    assert find_place(share.variables(9)) == Place("deepspeed", 9, 16, 1, 8, "10.0.0.1", 777)


def test_one_task_per_node_starts_its_block() -> None:
    task = Place("srun", 1, 2, 0, 1, "10.0.0.1", 777)
    assert find_place(task_share(8, task).variables(6)) == Place("deepspeed", 6, 8, 2, 4, "10.0.0.1", 777)
    with pytest.raises(UserError, match="multiple"):
        task_share(7, task)
    with pytest.raises(UserError, match="MASTER_ADDR"):
        task_share(8, Place("mpirun", 1, 2, 0, 1, "", 777))


@pytest.mark.parametrize(
    ("statuses", "joint"),
    [
        ([0, 0], 0),
        ([75, 75], 75),
        ([0, 75], 75),
        ([69, -9], 69),
        ([-11, 69], 69),
        ([1, 69], 1),
        ([2, 69, 69], 2),
        ([130, 69], 130),
    ],
)
def test_the_status_of_a_node(statuses: list[int], joint: int) -> None:
    assert joint_status(statuses) == joint


@pytest.mark.parametrize("ranks", [[0, 2], [1, 2], [0, 1, 2], [4, 5]])
def test_ranks_that_form_no_block_are_refused(ranks: list[int]) -> None:
    with pytest.raises(UserError, match="--gpu_ranks"):
        named_share(4, ranks, "tcp://localhost:1")


@pytest.mark.parametrize("text", ["localhost", "tcp://localhost", "tcp://h:x", "tcp://h:0", "tcp://h:99999"])
def test_master_ip_is_checked(text: str) -> None:
    with pytest.raises(UserError, match="--master_ip"):
        parse_master(text)


def test_an_address_that_all_machines_reach() -> None:
    first = ["172.17.0.1/16", "192.168.1.5/24", "10.0.0.1/255.255.255.0"]
    second = ["10.0.0.2/24", "172.17.0.1/16"]  # docker's bridge has the same address on every machine
    assert shared_address([first, first, second]) == "10.0.0.1"
    assert shared_address([first, ["10.9.0.2/24"]]) is None
    assert shared_address([[], []]) is None


def test_no_process_is_no_run() -> None:
    with pytest.raises(UserError, match=r"^--world_size is 0; expected 1 or more\.$"):
        share_here(find_place({}), 0, [], "tcp://localhost:12345")
