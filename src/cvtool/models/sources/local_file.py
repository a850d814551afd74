"""Weights in a file: read without executing anything, checked against the network they are for."""

from __future__ import annotations

import os
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cvtool.errors import BadInputError
from cvtool.files import opened_input
from cvtool.tensor_files import load_torch

StateDict = dict[str, Tensor]

_WRAPPERS = ("state_dict_ema", "state_dict", "model_ema", "model", "model_state_dict")
# How torch words its refusal of objects, as opposed to its surprise at bytes that are no pickle.
_ABOUT_OBJECTS = re.compile(r"GLOBAL|[Uu]nsupported global|allowed global|unrecognized function|instantiate")
_SHOWN = 3  # names of differing tensors in a message
_DEEPEST = 8  # wrappers around each other


def read_state_dict(path: Path) -> StateDict:
    """Tensors by name from a ``.safetensors`` or PyTorch file, on the CPU.

    Pickled code is never run. Wrappers such as ``{"state_dict": …}`` and prefixes ``module.`` are taken off.

    Raises:
        BadInputError: the file is missing, broken, holds pickled code, or no tensors.
    """
    if not os.path.isfile(path):
        raise BadInputError(f"No weights file '{path}'. Give a .safetensors or .pth file.")
    content = _read_safetensors(path) if path.suffix.lower() == ".safetensors" else _read_torch(path)
    tensors = _unwrap(content)
    if not tensors:
        raise BadInputError(f"'{path}' holds no tensors by name. Give a state dict (.safetensors or .pth).")
    return tensors


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise BadInputError(f"'{path}' is not a whole safetensors file ({first_line(error)}).") from error


def _read_torch(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols; what matters is an error below
            with opened_input(path, lasting=True) as file:
                return load_torch(file)
    except BadInputError:
        raise
    except pickle.UnpicklingError as error:
        if _ABOUT_OBJECTS.search(str(error)):
            raise BadInputError(
                f"'{path}' holds pickled Python objects, which are not run. "
                "Save its state_dict() alone, or as .safetensors."
            ) from error
        raise BadInputError(
            f"'{path}' is damaged or no PyTorch weights file. Give a .safetensors or .pth file."
        ) from error
    except Exception as error:  # torch.load raises almost anything on a damaged file
        raise BadInputError(f"'{path}' cannot be read as PyTorch weights ({first_line(error)}).") from error


def first_line(error: Exception) -> str:
    """The first line of an error's message, shortened to fit into one of ours."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:160]


def _unwrap(content: Any) -> StateDict:
    """The innermost mapping of names to tensors, without the prefix that DataParallel adds."""
    if not isinstance(content, Mapping):
        return {}
    for _ in range(_DEEPEST):
        inner = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    else:  # a pickle can hold a mapping that holds itself
        return {}
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    prefix = "module."
    if tensors and all(name.startswith(prefix) for name in tensors):
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def differences(module: nn.Module, tensors: Mapping[str, Tensor]) -> list[str]:
    """What keeps `tensors` from being the weights of `module`, one phrase each; [] when they fit exactly."""
    wanted = module.state_dict()
    found = [
        f"{name} is missing" for name in wanted if name not in tensors and not name.endswith("num_batches_tracked")
    ]
    found += [f"{name} is not part of the network" for name in tensors if name not in wanted]
    found += [
        f"{name} is {_size(tensors[name])} instead of {_size(wanted[name])}"
        for name in wanted
        if name in tensors and tensors[name].shape != wanted[name].shape
    ]
    return found


def _size(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "a scalar"


def fill(module: nn.Module, tensors: Mapping[str, Tensor], origin: Path, name: str) -> None:
    """Put `tensors` into `module`, all of them or none.

    Raises:
        BadInputError: names or shapes differ; the first few are named.
    """
    if differences(module, tensors):
        raise mismatch(module, tensors, origin, name)
    wanted = module.state_dict()
    # What `differences` lets be missing are counters of training steps, which only training reads.
    given = {key: tensors.get(key, torch.tensor(0)) for key in wanted}
    # contiguous: files converted from TensorFlow keep its axis order in their strides, which slows convolutions.
    whole = {key: value.to(wanted[key].dtype).contiguous() for key, value in given.items()}
    # assign: the tensors become the parameters, which also brings a network built on the meta device to life.
    module.load_state_dict(whole, assign=True)


def mismatch(module: nn.Module, tensors: Mapping[str, Tensor], origin: Path, name: str) -> BadInputError:
    """The error that says in which tensors file `origin` differs from network `name`: the first few and how many."""
    found = differences(module, tensors)
    shown = "; ".join(found[:_SHOWN])
    more = f"; … ({len(found)} differences)" if len(found) > _SHOWN else ""
    return BadInputError(f"'{origin}' does not fit '{name}': {shown}{more}. Give weights of this network.")
