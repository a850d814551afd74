"""What all tests share: one thread for torch, data that cannot be shipped, no network, skipping without a GPU."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[1]

# The same examples each time, however slow the machine is; `pytest --hypothesis-profile default` looks for others.
settings.register_profile(
    "suite", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("suite")

# The pictures here are tiny: a second thread costs more than it brings, above all when other programs want the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of data that is not part of the project; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("CVTOOL_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no shared data in {folder}; set CVTOOL_SHARED_DATA")
    return folder


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Whom anything here tries to reach by network, in vain."""
    tried: list[object] = []

    def refuse(*what: object, **_: object) -> None:
        tried.append(what)
        raise OSError("Network is unreachable")

    for owner, name in ((socket, "getaddrinfo"), (socket, "create_connection"), (socket.socket, "connect")):
        monkeypatch.setattr(owner, name, refuse)
    return tried


def pytest_configure(config: pytest.Config) -> None:
    """Tests see a CUDA device where only those that are marked so are asked for: ``pytest -m gpu``.

    The others are about a CPU: there the same command gives the same bytes, and a process may fork. To hide the device
    for the time of a test would not do: fixtures of modules live longer, and once it was seen autograd has threads for
    it, which no fork survives. So it is hidden from the start, here and, by inheritance, in all processes from here on.
    """
    if config.getoption("markexpr") != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # CUDA reads it once, at its first use, which is still to come


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        for item in items:
            if "gpu" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device, and 'pytest -m gpu'"))
