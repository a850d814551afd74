"""Several machines: two hosts of their own (network namespaces with a cable between), each with a disk of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from distributed.captioners import assert_same_run, make_set, metrics, training
from launching import ends, environment, until
from workers import worker

import cvtool.cli.main as program

CABLE = "eth0"
PORT = 29500
SILENCE = 18  # torchrun itself takes a machine to be gone after 15 seconds; before, it would wait for it


@dataclass(frozen=True)
class Machine:
    """A host: its name, its address, its disk, and where that lies for what runs there."""

    name: str
    address: str
    disk: Path
    mounted: Path

    def start(self, meeting: str, program: Sequence[str], words: list[object], restarts: int) -> subprocess.Popen[str]:
        """torchrun here, with one process of a program, to meet that of the other machine."""
        inside = ["unshare", "--mount", "sh", "-c", 'mount --bind "$1" "$2" && shift 2 && exec "$@"', "sh"]
        run = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
        run += [
            f"--max-restarts={restarts}",
            "--monitor-interval=0.2",
            "--rdzv-backend=c10d",
            f"--rdzv-endpoint={meeting}:{PORT}",
            "--rdzv-id=test",
        ]
        run += [
            f"--local-addr={self.address}",
            f"--rdzv-conf=is_host={meeting == self.address}",
            *program,
            *map(str, words),
        ]
        return subprocess.Popen(
            ["ip", "netns", "exec", self.name, *inside, str(self.disk), str(self.mounted), *run],
            env=environment(GLOO_SOCKET_IFNAME=CABLE, TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def off(self) -> None:
        """Nothing runs here any more, whatever was: torchrun, its process, or, between two of them, none."""
        while running := _ip("netns", "pids", self.name).split():
            for process in running:
                with suppress(ProcessLookupError):
                    os.kill(int(process), signal.SIGKILL)
            time.sleep(0.1)


def _ip(*words: object) -> str:
    return subprocess.run(["ip", *map(str, words)], check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Machine, Machine]]:
    """Two, connected with each other and with nothing else; the data set is on both disks."""
    if not all(map(shutil.which, ("ip", "unshare"))) or os.geteuid():
        pytest.skip("needs root, and the commands ip and unshare, to make hosts of their own")
    folder = tmp_path_factory.mktemp("machines")
    (folder / "disk").mkdir()
    names = [f"cvtool-{os.getpid()}-{number}" for number in (1, 2)]
    found = tuple(
        Machine(name, f"10.213.77.{number}", folder / f"disk {number}", folder / "disk")
        for number, name in enumerate(names, 1)
    )
    for machine in found:
        make_set(machine.disk / "set")
    try:
        try:
            for name in names:
                _ip("netns", "add", name)
            _ip("link", "add", CABLE, "netns", names[0], "type", "veth", "peer", CABLE, "netns", names[1])
            for machine in found:
                _ip("-n", machine.name, "address", "add", f"{machine.address}/24", "dev", CABLE)
                for device in ("lo", CABLE):
                    _ip("-n", machine.name, "link", "set", device, "up")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no hosts of their own here: {error.stderr.strip()}")
        yield found  # type: ignore[misc]
        for machine in found:
            machine.off()
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def start(
    machines: tuple[Machine, Machine],
    run: str,
    restarts: int = 0,
    program: Sequence[str] = ("-m", "cvtool"),
    on: Sequence[int] = (0, 1),
) -> list[subprocess.Popen[str]]:
    """The same command on both machines, or on one."""
    disk = machines[0].mounted
    words = training(disk, disk / run, "-q")
    return [machines[number].start(machines[0].address, program, words, restarts) for number in on]


@pytest.fixture(scope="module")
def undisturbed(machines: tuple[Machine, Machine]) -> Path:
    """A run of both; on the disk of the first."""
    for code, _, err in ends(start(machines, "run")):
        assert code == 0, err
    return machines[0].disk / "run"


def test_two_machines_learn_what_one_process_does(machines: tuple[Machine, Machine], undisturbed: Path) -> None:
    alone = machines[0].disk / "alone"
    assert program.run([*map(str, training(machines[0].disk, alone)), "-q"]) == 0
    for one, two in zip(metrics(alone), metrics(undisturbed), strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-4)


def test_each_machine_computes_features_of_its_own_and_the_first_writes_the_run(
    machines: tuple[Machine, Machine], undisturbed: Path
) -> None:
    assert (undisturbed / "best.safetensors").is_file()
    assert (machines[0].disk / "f.h5").is_file()
    assert sorted(path.name for path in machines[1].disk.iterdir()) == ["f.h5", "set"]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_is_killed_on_one_machine_is_started_again_on_both(
    machines: tuple[Machine, Machine], undisturbed: Path, rank: int
) -> None:
    name = f"killed {rank}"
    children = start(machines, name, restarts=1)
    until(machines[0].disk / name / "state.pt", children[0])
    os.kill(worker(children[rank].pid, rank), signal.SIGKILL)
    for code, _, err in ends(children):
        assert code == 0, err
    assert_same_run(machines[0].disk / name, undisturbed)


def test_a_machine_that_falls_silent_is_noticed_and_may_come_back(
    machines: tuple[Machine, Machine], undisturbed: Path, tmp_path: Path
) -> None:
    """Nothing closes its connections. Whoever waits for it must end, or torchrun starts nothing again."""
    silence_towards = ("blackhole", f"{machines[0].address}/32")
    hasty = tmp_path / "hasty.py"
    silence = f"cvtool.connections.SILENCE = {SILENCE}\n"
    hasty.write_text(f"import cvtool.connections\n{silence}from cvtool.cli.main import main\nmain()\n")
    children = start(machines, "silent", restarts=3, program=(str(hasty),))
    until(machines[0].disk / "silent" / "state.pt", children[0])
    first = worker(children[0].pid, 0)
    _ip("-n", machines[1].name, "route", "add", *silence_towards)
    try:
        ended = _seconds_until_gone(first, children[0])
        machines[1].off()  # somebody starts that machine again
        children[1].communicate()
    finally:
        _ip("-n", machines[1].name, "route", "delete", *silence_towards)
    assert ended > SILENCE / 2
    children[1:] = start(machines, "silent", restarts=3, program=(str(hasty),), on=(1,))
    for code, _, err in ends(children):
        assert code == 0, err
    assert_same_run(machines[0].disk / "silent", undisturbed)


def _seconds_until_gone(process: int, parent: subprocess.Popen[str]) -> float:
    started = time.monotonic()
    while Path(f"/proc/{process}/exe").exists():
        assert time.monotonic() - started < 4 * SILENCE
        assert parent.poll() is None, parent.communicate()
        time.sleep(0.1)
    return time.monotonic() - started
