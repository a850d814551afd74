"""Memory of machine, container and process, and sizes in words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvtool.errors import UsageError
from cvtool.memory import _vm_stat, available_memory, parse_bytes, show_bytes

GB = 10**9


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4GB", 4 * GB),
        ("4gb", 4 * GB),
        ("4 GB", 4 * GB),
        ("4G", 4 * GB),
        ("4GiB", 4 * 2**30),
        ("1.5MiB", 3 * 2**19),
        (".5MB", 500_000),
        ("512MB", 512_000_000),
        ("64kB", 64_000),
        ("2TB", 2 * 10**12),
        ("4000000000", 4 * GB),
        ("100B", 100),
    ],
)
def test_sizes_as_people_write_them(text: str, size: int) -> None:
    assert parse_bytes(text, "--max-memory") == size


@pytest.mark.parametrize(
    "text",
    ["", "GB", "0", "0GB", "-4GB", "4XB", "4GBs", "4 G B", "1e9", "nan", "inf", "4,5GB", "0.1", "٤GB", "9" * 400],
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--max-memory '.*' is not a size of memory such as 4GB"):
        parse_bytes(text, "--max-memory")


@given(st.integers(10**6, 10**14))
def test_what_is_shown_can_be_read(size: int) -> None:
    assert parse_bytes(show_bytes(size), "") == pytest.approx(size, rel=0.051, abs=0.5e6)


@pytest.mark.parametrize(
    ("size", "text"), [(2.34e9, "2.3 GB"), (340e6, "340 MB"), (999.7e6, "1.0 GB"), (64e9, "64 GB"), (9.996e9, "10 GB")]
)
def test_sizes_are_short(size: float, text: str) -> None:
    assert show_bytes(size) == text


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "ascii")
    return root


MEMINFO = {"proc/meminfo": "MemTotal:       16000 kB\nMemFree:  100 kB\nMemAvailable:    8000 kB\n"}
linux = pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="reads Linux's files")


@linux
def test_a_machine_without_groups(tmp_path: Path) -> None:
    assert available_memory(machine(tmp_path, MEMINFO)) == 8000 * 1024


@linux
def test_nothing_known(tmp_path: Path) -> None:
    assert available_memory(tmp_path) is None


@linux
def test_the_tightest_of_the_groups_around_counts(tmp_path: Path) -> None:
    """Version 2: a limit on an outer group holds for all inside; a cache of files is not in the way."""
    root = machine(
        tmp_path,
        {
            **MEMINFO,
            "proc/self/cgroup": "0::/user/job\n",
            "sys/fs/cgroup/user/job/memory.max": "max\n",
            "sys/fs/cgroup/user/job/memory.current": "1000\n",
            "sys/fs/cgroup/user/memory.max": "5000000\n",
            "sys/fs/cgroup/user/memory.current": "3000000\n",
            "sys/fs/cgroup/user/memory.stat": "anon 2\nactive_file 7\ninactive_file 500000\n",
        },
    )
    assert available_memory(root) == 5000000 - 3000000 + 500000


@linux
def test_groups_of_version_1_in_a_container(tmp_path: Path) -> None:
    """The path in /proc is the host's; what is mounted is the container's own group."""
    root = machine(
        tmp_path,
        {
            **MEMINFO,
            "proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/docker/0123\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "4000000\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "4500000\n",
            "sys/fs/cgroup/memory/memory.stat": "inactive_file 9\ntotal_inactive_file 700000\n",
        },
    )
    assert available_memory(root) == 200000
    machine(tmp_path, {"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"})  # no limit
    assert available_memory(root) == 8000 * 1024


@linux
def test_this_machine_has_some() -> None:
    room = available_memory()
    assert room is not None
    assert 10**7 < room < 10**14


def test_a_mac_tells_pages() -> None:
    report = """Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                               10.
Pages active:                         200000.
Pages inactive:                           20.
Pages speculative:                         3.
Pages purgeable:                           4.
"Translation faults":              123456789.
"""
    assert _vm_stat(report) == 37 * 16384
    assert _vm_stat("no such report") is None


def test_the_process_grows_with_what_it_holds() -> None:
    # In a process of its own: here, memory that earlier tests gave back would be taken again.
    code = "import numpy as np, cvtool.memory as m; a = m.process_memory(); b = np.ones(40_000_000, np.uint8)\n"
    done = subprocess.run(
        [sys.executable, "-c", code + "print(m.process_memory() - a)"], capture_output=True, timeout=60
    )
    assert 30e6 < int(done.stdout) < 80e6


def test_torch_is_not_needed() -> None:
    code = "import sys, cvtool.memory as m; m.available_memory(); m.process_memory(); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
