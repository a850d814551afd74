"""What goes wrong around the program: disks, pipes, signals, clocks, homes, encodings, and a second run."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from cli.conftest import Outcome
from hardening.conftest import world
from hardening.faults import forked
from hardening.materials import picture, write, write_good
from safetensors.torch import load_file

from cvtool import training as runs
from cvtool.cli.main import run
from cvtool.errors import UsageError
from cvtool.gan.datasets import default_cache
from cvtool.run_files import LOCK
from cvtool.training import RunDirectory

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and forks are of Unix")

PROGRAM = (sys.executable, "-m", "cvtool")
FULL = Path("/dev/full")
GAN = ("--width", "4", "--latent", "4", "--size", "16", "--steps", "4", "--every", "2", "--batch", "4")
MORE = ("--samples", "100", "--precision", "fp32", "--augment", "off", "-q")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, and a run on them to its end; nobody writes here."""
    folder = tmp_path_factory.mktemp("shelf")
    for number in range(12):
        write_good(str(folder / "set" / f"{number}.png"), number)
    assert run(gan_training(folder, folder / "whole")) == 0
    return folder


def gan_training(shelf: Path, run_directory: object) -> list[str]:
    """A command line that takes a second."""
    where = ("--data", f"folder:{shelf / 'set'}", "--cache", str(shelf / "cache"), "-o", str(run_directory))
    return ["gan", "train", *where, *GAN, *MORE]


def assert_same_weights(one: Path, other: Path) -> None:
    """Of two runs, to the bit."""
    first, second = (load_file(place / "last.safetensors") for place in (one, other))
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def told(outcome: Outcome, code: int, words: str) -> None:
    """One line, and nothing else."""
    assert outcome.code == code, outcome.err
    assert outcome.err.count("\n") == 1
    assert words in outcome.err


# Disks ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    if _mount("-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)):
        pytest.skip("file systems cannot be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path) -> None:
    """Until nothing more fits."""
    with open(disk / "filler", "wb", buffering=0) as filler, suppress(OSError):
        while filler.write(bytes(4096)):
            pass


def _mount(*words: str) -> bool:
    """Whether it failed."""
    try:
        return subprocess.run(["mount", *words], capture_output=True, check=False).returncode != 0
    except OSError:
        return True


def test_a_full_disk_leaves_the_old_picture(cvtool: Callable[..., Outcome], here: Path, small_disk: Path) -> None:
    write_good("good.png")
    output = small_disk / "out.png"
    output.write_bytes(b"the old one")
    fill(small_disk)
    before = world(small_disk)
    told(cvtool("saliency", "good.png", "-o", output, "-q"), 1, "the disk is full")
    assert world(small_disk) == before
    assert output.read_bytes() == b"the old one"


def test_a_run_on_a_full_disk_goes_on_when_there_is_room(
    cvtool: Callable[..., Outcome], here: Path, shelf: Path, small_disk: Path
) -> None:
    words = gan_training(shelf, small_disk / "run")
    told(cvtool(*words), 1, "the disk is full")
    assert not list(small_disk.rglob(".cvtool-*"))
    assert not _mount("-o", "remount,size=64m", str(small_disk))
    started = (small_disk / "run" / "config.json").exists()
    assert cvtool(*words, "--resume" if started else "--overwrite").code == 0
    assert_same_weights(small_disk / "run", shelf / "whole")


def test_a_disk_that_ends_in_the_middle_of_a_file(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """As above, where nothing can be mounted: files may not grow beyond 2 KiB."""
    write_good("good.png")

    def work() -> int:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))
        return run(["saliency", "good.png", "-o", "out.png", "-q"])

    before = world(here)
    assert forked(work) == 1
    assert world(here) == before
    assert capfd.readouterr().err.count("\n") == 1


def test_a_file_system_that_is_read_only(
    cvtool: Callable[..., Outcome], here: Path, shelf: Path, small_disk: Path
) -> None:
    write_good("good.png")
    assert not _mount("-o", "remount,ro", str(small_disk))
    before = world(here)
    for words in (
        ["saliency", "good.png", "-o", small_disk / "out.png"],
        ["stylize", "good.png", "good.png", "--size", "16", "--steps", "1", "-o", small_disk / "out.png"],
        ["caption", "describe", "good.png", "-o", small_disk / "out.jsonl"],
        ["gan", "sample", "-n", "1", "-o", small_disk / "out.png"],
    ):
        outcome = cvtool(*words, "-q") if words[0] != "caption" else cvtool(*words)
        assert (outcome.code, outcome.err.count("\n")) in ((1, 1), (2, 1)), outcome.err
    assert world(here) == before
    told(cvtool(*gan_training(shelf, small_disk / "run")), 1, "run directory")


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(cvtool: Callable[..., Outcome], here: Path) -> None:
    write_good("good.png")
    (here / "locked").mkdir(mode=0o500)
    told(cvtool("saliency", "good.png", "-o", "locked/out.png", "-q"), 2, "no permission")


# Streams --------------------------------------------------------------------------------------------------------


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """What bash makes of a line in which ``cvtool`` is our program."""
    program = f'cvtool() {{ "{PROGRAM[0]}" -m cvtool "$@"; }}; '
    variables = {**os.environ, **environment}
    return subprocess.run(["bash", "-c", program + line], capture_output=True, env=variables, timeout=120, check=False)


@pytest.fixture
def _bash() -> None:
    if subprocess.run(["bash", "-c", "true"], check=False).returncode:
        pytest.skip("no bash")


@pytest.mark.usefixtures("_bash")
class TestStreams:
    def test_a_reader_that_had_enough(self) -> None:
        done = shell("cvtool classes --json | head -n 1; exit ${PIPESTATUS[0]}")  # more than a pipe holds
        assert (done.returncode, done.stderr) == (141, b"")
        assert done.stdout.count(b"\n") == 1

    @pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
    def test_an_output_that_is_full(self) -> None:
        done = shell("cvtool classes > /dev/full")
        assert done.returncode == 1
        assert done.stderr.count(b"\n") == 1
        assert b"No space left on device" in done.stderr

    def test_streams_that_were_closed_from_the_start(self, here: Path) -> None:
        assert shell("cvtool classes <&- >&- 2>&-").returncode == 0
        told_nobody = shell("cvtool info nowhere.png 2>&-")
        assert (told_nobody.returncode, told_nobody.stdout) == (3, b"")
        assert shell("cvtool info - <&-").returncode == 2

    def test_nobody_listens_to_errors(self) -> None:
        done = shell("cvtool info nowhere.png 2> >(true)")
        assert (done.returncode, done.stdout) == (3, b"")

    @pytest.mark.parametrize("variables", [{"LC_ALL": "C", "PYTHONUTF8": "0"}, {"PYTHONIOENCODING": "ascii"}])
    def test_names_that_the_terminal_cannot_show(self, here: Path, variables: dict[str, str]) -> None:
        for name in ("εικόνα.png", os.fsdecode(b"\xff.png")):
            write(os.fsencode(name).decode("utf-8", "surrogateescape"), picture())
        bad = shell("cvtool info ε.png", **variables)
        assert (bad.returncode, bad.stderr.count(b"\n")) == (3, 1)
        good = shell("cvtool info ε*.png $'\\xff.png'", **variables)
        assert (good.returncode, good.stderr) == (0, b"")
        assert good.stdout.count(b"saliency") >= 2

    def test_stdin_that_never_ends(self) -> None:
        done = shell("ulimit -v 8000000; cvtool info - < <(head -c 3G /dev/zero)")
        assert done.returncode == 3
        assert b"larger than 2 GiB" in done.stderr


# Signals --------------------------------------------------------------------------------------------------------


def test_sigterm_stops_a_run_as_ctrl_c_does(cvtool: Callable[..., Outcome], here: Path, shelf: Path) -> None:
    words = gan_training(shelf, here / "run")

    def work() -> int:
        save, saved = RunDirectory.save_state, []

        def save_and_ask(self: RunDirectory, state: object) -> None:
            save(self, state)  # type: ignore[arg-type]
            saved.append(1)
            if len(saved) == 1:
                os.kill(os.getpid(), signal.SIGTERM)

        RunDirectory.save_state = save_and_ask  # type: ignore[method-assign, assignment]
        return run(words)

    assert forked(work) == 130
    assert not list((here / "run").glob(".*"))
    assert cvtool(*words, "--resume").code == 0
    assert_same_weights(here / "run", shelf / "whole")


def test_sigterm_while_a_file_is_written_leaves_nothing_torn(here: Path) -> None:
    """A real process, asked in the middle of writing: the half-written file goes with it."""
    script = """
import os, signal
from pathlib import Path
from cvtool.cli import main
from cvtool.files import write_atomically
write = Path.write_bytes
def interrupted(self, data):
    write(self, data[:10])
    os.kill(os.getpid(), signal.SIGTERM)
Path.write_bytes = interrupted
main.run = lambda words: (write_atomically("out.txt", bytes(100)), 0)[1]
try:
    main.main()
except KeyboardInterrupt:
    raise SystemExit(130)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 130
    assert list(here.iterdir()) == []


# Other runs, homes and clocks -----------------------------------------------------------------------------------


def test_two_runs_in_one_directory(cvtool: Callable[..., Outcome], here: Path, shelf: Path) -> None:
    words = gan_training(shelf, here / "run")
    shutil.copytree(shelf / "whole", here / "run")
    before = world(here / "run")
    with RunDirectory.open(here / "run").locked():
        for more in ("--resume", "--overwrite"):
            told(cvtool(*words, more), 2, "Another run is at work in")
    assert world(here / "run") == before


def test_a_lock_that_was_removed_locks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between opening and locking, the run before may end and take the file with it; a third may have made another."""
    import fcntl

    lock = fcntl.flock

    def late(handle: int, operation: int) -> None:
        (tmp_path / LOCK).unlink()
        (tmp_path / LOCK).touch()
        lock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(UsageError, match="Another run"), RunDirectory(tmp_path).locked():
        pass


@pytest.mark.parametrize(
    "name",
    [
        *("last.safetensors", "metrics.jsonl", ".lock", "state.pt", "samples"),
        *("samples/step-000100.png", "tensorboard", "features.h5"),
    ],
)
def test_a_prepared_run_cannot_write_elsewhere(
    cvtool: Callable[..., Outcome], here: Path, shelf: Path, name: str
) -> None:
    words = gan_training(shelf, here / "run")
    shutil.copytree(shelf / "whole", here / "run")
    victim = write("victim", b"mine")
    target = here / "run" / name
    target.exists() and target.rename(here / "away")
    target.symlink_to(victim)
    told(cvtool(*words, "--resume"), 3, "is a link")
    assert victim.read_bytes() == b"mine"


@pytest.mark.parametrize("home", [None, "/dev/null"])
def test_no_home(
    cvtool: Callable[..., Outcome], here: Path, shelf: Path, home: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pwd

    def nobody(number: int) -> object:
        raise KeyError(number)

    words = [word for word in gan_training(shelf, here / "run") if word not in ("--cache", str(shelf / "cache"))]
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)  # as in a container, for a user it does not know
    if home is None:
        monkeypatch.delenv("HOME", raising=False)
    else:
        monkeypatch.setenv("HOME", home)
    assert cvtool(*words).code == 0
    assert {each.name for each in here.iterdir()} == {"run"}
    assert "~" not in str(default_cache())


def test_a_clock_that_goes_backwards(
    cvtool: Callable[..., Outcome], here: Path, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter(range(10**9, 0, -(10**4)))
    monkeypatch.setattr(time, "time", lambda: float(next(now)))
    monkeypatch.setattr(runs, "SAVE_SECONDS", 0.0)
    words = gan_training(shelf, here / "run")
    assert cvtool(*words).code == 0
    assert cvtool(*words, "--resume").code == 0
    assert_same_weights(here / "run", shelf / "whole")
    outcome = cvtool(
        "stylize",
        shelf / "set" / "0.png",
        shelf / "set" / "1.png",
        "--size",
        "32",
        "--budget",
        "2s",
        "-o",
        "out.png",
        "-q",
    )
    assert (outcome.code, outcome.err) == (0, "")
