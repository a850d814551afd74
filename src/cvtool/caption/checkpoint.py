"""Captioners in safetensors files, with all that is needed to use them: words, shape, the network behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cvtool.caption.decoder import Captioner
from cvtool.caption.extractor import Extractor, tuned_fingerprint
from cvtool.caption.features import Pca
from cvtool.caption.options import Cell, ModelOptions
from cvtool.caption.vocabulary import Vocabulary
from cvtool.errors import BadInputError, CvtoolError
from cvtool.files import read_input
from cvtool.models.loader import load
from cvtool.tensor_files import decode_tensors, write_tensors

_KEY = "caption"
_PCA_MEAN, _PCA_COMPONENTS = "pca.mean", "pca.components"
NETWORK = "network."
BUNDLED = "captioner.safetensors"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A captioner and what it was made with.

    Attributes:
        captioner: on the CPU.
        vocabulary: its words.
        model: name of the network whose features it reads, or what else the features are called.
        fingerprint: of that network as published and the way pictures enter it.
        longest: words in a caption it was trained on at most.
        facts: metrics and the like, for people.
        pca: what the network's features go through before the captioner reads them.
        network: name → value of the network's parameters that were fine-tuned; empty where none were.
    """

    captioner: Captioner
    vocabulary: Vocabulary
    model: str
    fingerprint: str
    longest: int
    facts: Mapping[str, Any] = field(default_factory=dict)
    pca: Pca | None = None
    network: Mapping[str, Tensor] = field(default_factory=dict)

    @cached_property
    def features_fingerprint(self) -> str:
        """Of the features it reads; those with another one do not fit."""
        return tuned_fingerprint(self.fingerprint, self.network) if self.network else self.fingerprint


def extractor_of(
    checkpoint: Checkpoint,
    *,
    device: torch.device | str = "cpu",
    weights: Path | None = None,
    precision: str = "auto",
    fold: bool = True,
) -> Extractor:
    """The network whose features a captioner reads, with its fine-tuned weights if it has any.

    Args:
        checkpoint: the captioner.
        device: where to compute.
        weights: of the network as published, if they do not come with the install.
        precision: as `tensors.autocast` takes it.
        fold: make a faster copy of the network; worth it from some ten pictures on.

    Raises:
        BadInputError: its weights are not those the captioner knows, or the captioner cannot read its features.
        WeightsUnavailableError: the network's weights are not on this machine.
    """
    extractor = Extractor(load(checkpoint.model, device=device, weights=weights), precision=precision, fold=fold)
    found = extractor.origin.fingerprint
    if found != checkpoint.fingerprint:
        raise BadInputError(
            f"This captioner was trained with other weights of {checkpoint.model}: it reads features with the "
            f"fingerprint {checkpoint.fingerprint[:12]}, these weights give {found[:12]}. Give its own by --weights."
        )
    reads = checkpoint.captioner.first.in_features if checkpoint.pca is None else len(checkpoint.pca.mean)
    if reads != extractor.origin.channels:
        raise BadInputError(
            f"This captioner reads {reads} features of a place, {checkpoint.model} has {extractor.origin.channels}. "
            "Get it again."
        )
    if checkpoint.network:
        extractor.tune(checkpoint.network)
    return extractor


def write_checkpoint(path: Path, checkpoint: Checkpoint, note: str = "", dtype: torch.dtype = torch.float32) -> None:
    """Write a checkpoint; `note` is the provenance that `cvtool info` shows, `dtype` the type weights are kept in."""
    captioner = checkpoint.captioner
    record = {
        "options": asdict(captioner.options),
        "channels": captioner.first.in_features,
        "words": checkpoint.vocabulary.words,
        "model": checkpoint.model,
        "fingerprint": checkpoint.fingerprint,
        "longest": checkpoint.longest,
        "facts": dict(checkpoint.facts),
    }
    parts = {**captioner.state_dict(), **{NETWORK + name: tensor for name, tensor in checkpoint.network.items()}}
    tensors = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in parts.items()}
    if checkpoint.pca is not None:
        tensors[_PCA_MEAN] = torch.from_numpy(checkpoint.pca.mean)
        tensors[_PCA_COMPONENTS] = torch.from_numpy(checkpoint.pca.components)
    write_tensors(path, tensors, _KEY, record, note)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read what `write_checkpoint` wrote; nothing in the file is run.

    Raises:
        BadInputError: missing, truncated, not a captioner, or its parts do not fit each other.
    """
    data = read_input(path)
    try:
        record, tensors = decode_tensors(data, _KEY)
        return _built(record, tensors)
    except CvtoolError as error:
        raise BadInputError(f"'{path}': {error}") from error
    except (ValueError, LookupError, TypeError, OverflowError) as error:
        raise BadInputError(
            f"'{path}' is not a checkpoint of a captioner, or is broken. 'cvtool caption train' makes one."
        ) from error
    except RuntimeError as error:
        raise BadInputError(f"'{path}': its weights do not fit the captioner it describes. Get it again.") from error


def _built(record: dict[str, Any], tensors: dict[str, Tensor]) -> Checkpoint:
    vocabulary = Vocabulary(tuple(record["words"]))
    if not all(isinstance(word, str) for word in vocabulary.words):
        raise BadInputError("its vocabulary has words that are no text.")
    pca = None
    if _PCA_MEAN in tensors:
        pca = Pca(tensors.pop(_PCA_MEAN).float().numpy(), tensors.pop(_PCA_COMPONENTS).float().numpy())
    tuned = [name for name in tensors if name.startswith(NETWORK)]
    network = {name.removeprefix(NETWORK): tensors.pop(name).float() for name in tuned}
    options = ModelOptions(**{**record["options"], "cell": Cell(record["options"]["cell"])})
    expected = tensors["embed.weight"].shape[0]
    if expected != len(vocabulary):
        raise BadInputError(f"its vocabulary has {len(vocabulary)} words, its weights are for {expected}.")
    layers = sum(name.startswith("cells.") and name.endswith(".weight_ih_l0") for name in tensors)
    if options.layers != layers:  # checked first: what the header says could fill the memory
        raise BadInputError(f"it should have {options.layers} layers, its weights are for {layers}.")
    if int(record["longest"]) < 1:
        raise BadInputError("it says that its captions have no words.")
    shape = (int(options.hidden), int(record["channels"])), (len(vocabulary), int(options.embedding))
    if (tuple(tensors["first.weight"].shape), tuple(tensors["embed.weight"].shape)) != shape:
        raise BadInputError("its weights are for other sizes than it says.")
    if pca is not None and (pca.mean.ndim != 1 or pca.components.shape != (int(record["channels"]), len(pca.mean))):
        raise BadInputError("its principal components do not fit the features it reads.")
    with torch.random.fork_rng(devices=[]):  # the weights it starts with are drawn, and replaced at once
        captioner = Captioner(options, len(vocabulary), int(record["channels"]))
    captioner.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    captioner.eval().requires_grad_(False)
    return Checkpoint(
        captioner,
        vocabulary,
        str(record["model"]),
        str(record["fingerprint"]),
        int(record["longest"]),
        dict(record["facts"]),
        pca,
        network,
    )
