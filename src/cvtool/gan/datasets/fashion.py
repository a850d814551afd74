"""``fashion-mnist``: the clothes of Xiao, Rasul and Vollgraf (2017, arXiv:1708.07747), where this machine has them."""

from __future__ import annotations

import os
from pathlib import Path

from cvtool.errors import BadInputError
from cvtool.gan.datasets.cache import cache_home
from cvtool.gan.datasets.idx import IdxOrigin, picture_files

NAME = "fashion-mnist"

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
"""Where the package dataset-fashion-mnist puts the files."""

TORCHVISION = Path("FashionMNIST", "raw")
"""Where torchvision puts them, below its ``root``."""

CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
"""Names of the labels 0 to 9."""


def fashion_mnist() -> IdxOrigin:
    """Debian's files, else those that torchvision fetched.

    Raises:
        BadInputError: there are neither.
    """
    for folder in places():
        if picture_files(folder):
            return IdxOrigin(folder, CLASSES, NAME)
    raise BadInputError(
        "Fashion-MNIST is not on this machine. Install it with 'apt-get install dataset-fashion-mnist', "
        "or give a folder with its files: idx:DIR."
    )


def places() -> list[Path]:
    """Folders that are looked in, in this order."""
    cache = Path(os.environ.get("TORCH_HOME") or cache_home() / "torch")
    roots = (cache, cache / "datasets", Path("data"), Path("."))
    return [DEBIAN, *(root / TORCHVISION for root in roots)]
