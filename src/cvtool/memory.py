"""How much memory there is: of the machine, of the container, of a GPU; and sizes as people write them. No torch."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from cvtool.errors import UsageError

_UNITS = {"": 1, "B": 1}
_UNITS |= {f"{letter}B": 10 ** (3 * i) for i, letter in enumerate("KMGT", 1)}
_UNITS |= {f"{letter}IB": 2 ** (10 * i) for i, letter in enumerate("KMGT", 1)}
_UNITS |= {letter: 10 ** (3 * i) for i, letter in enumerate("KMGT", 1)}  # "4G"


def parse_bytes(text: str, option: str) -> int:
    """Bytes from ``4GB`` (10⁹), ``4GiB`` (2³⁰), ``512MB``, ``1.5g`` or a bare number of bytes.

    Raises:
        UsageError: it is not a size, or not larger than 0.
    """
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([a-z]*)\s*", text, re.IGNORECASE | re.ASCII)
    factor = _UNITS.get(match[2].upper()) if match else None
    size = int(float(match[1]) * factor) if match and factor and len(match[1]) < 25 else 0
    if size < 1:
        raise UsageError(f"{option} '{text}' is not a size of memory such as 4GB, 512MB or 6GiB.")
    return size


def show_bytes(size: float) -> str:
    """``2.3 GB`` or ``340 MB``, in powers of ten as `parse_bytes` reads them."""
    if size >= 9.995e9:
        return f"{size / 1e9:.0f} GB"
    return f"{size / 1e9:.1f} GB" if size >= 0.9995e9 else f"{max(1, round(size / 1e6))} MB"


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes that this process can still take without being killed or making the machine swap; None if unknown.

    On Linux the least of what the machine has left and what each control group around the process allows.

    Args:
        root: where ``/proc`` and ``/sys`` are.
    """
    if sys.platform == "win32":
        return _windows_memory()
    if sys.platform == "darwin":
        return _mac_memory()
    found = [_machine_memory(root), *_group_rooms(root)]
    return min((room for room in found if room is not None), default=None)


def gpu_memory(index: int | None = None) -> int:
    """Bytes that this process can still take on a CUDA device (None: the current one), its own reserve included."""
    import torch

    free, _ = torch.cuda.mem_get_info(index)
    return int(free) + torch.cuda.memory_reserved(index) - torch.cuda.memory_allocated(index)


def process_memory() -> int:
    """Bytes that this process holds now; where the system tells the peak only, that."""
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        pass
    try:
        import resource
    except ImportError:  # Windows has no such module
        return _windows_working_set()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _machine_memory(root: Path) -> int | None:
    """What the kernel says a new program can take; it counts the files it can drop from its cache."""
    match = re.search(r"^MemAvailable:\s*(\d+) kB", _read(root / "proc/meminfo"), re.MULTILINE)
    return int(match[1]) * 1024 if match else None


def _group_rooms(root: Path) -> Iterator[int]:
    """What is left in each control group, of version 2 or 1, that the process is in, from its own to the outermost."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            names, top = ("memory.max", "memory.current", "inactive_file"), root / "sys/fs/cgroup"
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            top = root / "sys/fs/cgroup/memory"
        else:
            continue
        # In a container the path can be the host's: then only the top is there, and it is the container's own.
        inside = Path(path.lstrip("/"))
        for folder in (inside, *inside.parents):
            room = _room(top / folder, *names)
            if room is not None:
                yield room


def _room(group: Path, limit_file: str, usage_file: str, droppable: str) -> int | None:
    limit, usage = _read(group / limit_file).strip(), _read(group / usage_file).strip()
    if not limit.isdigit() or not usage.isdigit():  # "max", or no such group
        return None
    # Pages of files that nobody uses count as used, but give way.
    match = re.search(rf"^{droppable} (\d+)", _read(group / "memory.stat"), re.MULTILINE)
    return max(0, int(limit) - int(usage) + (int(match[1]) if match else 0))


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii")
    except (OSError, ValueError):
        return ""


def _mac_memory() -> int | None:
    """Free pages and those that can be freed at once, by ``vm_stat``; half of the machine's memory where it is not."""
    try:
        report = subprocess.run(["/usr/bin/vm_stat"], capture_output=True, text=True, timeout=5, check=True).stdout
        found = _vm_stat(report)
        return found if found is not None else _half_of_all()
    except (OSError, subprocess.SubprocessError):
        return _half_of_all()


def _vm_stat(report: str) -> int | None:
    page = re.search(r"page size of (\d+) bytes", report)
    counts = re.findall(r"^Pages (?:free|inactive|speculative|purgeable):\s*(\d+)\.", report, re.MULTILINE)
    return sum(map(int, counts)) * int(page[1]) if page and counts else None


def _half_of_all() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (OSError, ValueError):
        return None


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX of the Windows API."""

    _fields_ = [
        ("length", ctypes.c_uint32),
        ("load", ctypes.c_uint32),
        *((name, ctypes.c_uint64) for name in ("total", "available", "total_page", "page", "total_virtual", "virtual")),
        ("extended", ctypes.c_uint64),
    ]


def _windows_memory() -> int | None:
    status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
    library = getattr(ctypes, "windll", None)
    if library is None or not library.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    return int(status.available)


class _ProcessCounters(ctypes.Structure):
    """PROCESS_MEMORY_COUNTERS of the Windows API."""

    _fields_ = [
        ("size", ctypes.c_uint32),
        ("faults", ctypes.c_uint32),
        *((name, ctypes.c_size_t) for name in ("peak", "current", "b", "c", "d", "e", "f", "g")),
    ]


def _windows_working_set() -> int:
    counters = _ProcessCounters(size=ctypes.sizeof(_ProcessCounters))
    library = getattr(ctypes, "windll", None)
    if library is None:
        return 0
    kernel = library.kernel32
    kernel.GetCurrentProcess.restype = ctypes.c_void_p
    asked = kernel.K32GetProcessMemoryInfo(
        ctypes.c_void_p(kernel.GetCurrentProcess()), ctypes.byref(counters), counters.size
    )
    return int(counters.current) if asked else 0
