"""What is climbed: the score of a target, read from a network that looks at views of the pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cvtool.errors import UsageError
from cvtool.hooks import auto_layers, record
from cvtool.models.folding import fold_batch_norm, norms_after_convolutions
from cvtool.models.loader import Model
from cvtool.models.predictions import check_class
from cvtool.tensors import autocast
from cvtool.visualize_class.options import Target, Unit
from cvtool.visualize_class.statistics import Usual, usual_statistics, watched


@dataclass(frozen=True)
class Seen:
    """What a network made of views (k · N, 3, s, s) of N pictures, k views of each.

    Attributes:
        scores: (k · N,) of the targets.
        likeness: () how alike the N pictures are to the network, 0 to N - 1; 0 unless asked for.
        strangeness: () how far the network's statistics are from those of natural pictures; 0 unless asked for.
    """

    scores: Tensor
    likeness: Tensor
    strangeness: Tensor


@dataclass(frozen=True, eq=False)
class Question:
    """One network and what pictures are to excite in it.

    Attributes:
        model: the network, its batch norms folded.
        targets: one for each of the N pictures, all classes or all inside one layer.
        compare: the layer that tells whether pictures look alike; None asks for no comparison.
        precision: in which it computes.
        usual: what each layer gave on average when the network was trained; empty for one without batch norms.
    """

    model: Model
    targets: tuple[Target, ...]
    compare: str | None
    precision: str
    usual: Usual

    @classmethod
    def of(cls, model: Model, targets: Sequence[Target], *, compare: bool, precision: str) -> Question:
        """Prepare a network.

        Raises:
            UsageError: it has no such class, layer or channel, or no classifier.
        """
        check_target(targets[0], model)
        for target in targets:
            if target.index is not None:
                check_class(target.index, model.card.classes)
        module, usual = _prepared(model)
        compared = None
        if compare:
            compared = targets[0].layer or auto_layers(module, model.card.input_size)[0][-1]
        return cls(replace(model, module=module), tuple(targets), compared, precision, usual)

    def look(self, views: Tensor, *, strangeness: bool = False) -> Seen:
        """Views (k · N, 3, s, s) in [0, 1], k rounds over the N pictures → what the network makes of them.

        With `strangeness` also how unusual that is, for a quarter more time.

        Raises:
            UsageError: the layer has no such channel, or gives no activations.
        """
        layer = self.targets[0].layer
        names = list(dict.fromkeys(name for name in (layer, self.compare) if name is not None))
        x = self.model.normalize(views)
        if views.device.type == "cpu":
            x = x.contiguous(memory_format=torch.channels_last)
        logits = x.new_zeros(0)
        with (
            autocast(self.model.device, self.precision),
            watched(self.model.module, self.usual if strangeness else {}, len(self.targets)) as distances,
            record(self.model.module, names, stop_early=layer is not None) as kept,
        ):
            logits = self.model.module(x)
        for name in names:
            if name not in kept:
                raise UsageError(f"Layer '{name}' does not run in this network. Choose another layer.")
        scores = class_scores(logits, self.targets) if layer is None else unit_scores(kept[layer], self.targets)
        likeness = scores.new_zeros(()) if self.compare is None else likeness_of(kept[self.compare], len(self.targets))
        strange = torch.stack(distances).sum() if distances else scores.new_zeros(())
        return Seen(scores.float(), likeness.float(), strange)


_PREPARED: WeakKeyDictionary[nn.Module, tuple[nn.Module | None, Usual]] = WeakKeyDictionary()
"""By network: folding takes several passes, and every class would fold each again. None: there was nothing to fold."""


def _prepared(model: Model) -> tuple[nn.Module, Usual]:
    """The network with its batch norms folded, and what they remember."""
    if model.module not in _PREPARED:
        module = fold_batch_norm(model.module, model.card.input_size)
        folded = module is not model.module
        norms = norms_after_convolutions(model.module, model.card.input_size)
        if folded and model.device.type == "cpu":
            module = module.to(memory_format=torch.channels_last)
        _PREPARED[model.module] = (module if folded else None), usual_statistics(model.module, norms, folded)
    prepared, usual = _PREPARED[model.module]
    return prepared or model.module, usual


def check_target(target: Target, model: Model) -> None:
    """Whether a network can be asked for a target.

    Raises:
        UsageError: it has no classifier, or the target is neither a class nor a unit.
    """
    if (target.index is None) == (target.layer is None):
        raise UsageError("Say what to visualise: a class, or a layer with what is wanted of it.")
    if target.index is not None and "classify" not in model.card.abilities:
        raise UsageError(f"'{model.card.name}' has no classifier, so no classes to visualise. --layer looks inside.")


def class_scores(logits: Tensor, targets: Sequence[Target]) -> Tensor:
    """Logits (k · N, K) → (k · N,): that of each picture's class.

    The logit, not the probability: that could also rise by making other classes unlikely.
    """
    indices = torch.tensor([target.index for target in targets], device=logits.device)
    return logits.gather(1, indices.repeat(len(logits) // len(targets))[:, None])[:, 0]


def unit_scores(output: Tensor, targets: Sequence[Target]) -> Tensor:
    """A layer's output (k · N, C, h, w), tokens (k · N, T, C) or vectors (k · N, C) → (k · N,).

    Raises:
        UsageError: no such channel, a direction of another length, or an output of another shape.
    """
    places = as_places(output)
    rounds = len(output) // len(targets)
    per_target = [
        _unit_score(places[number :: len(targets)], target, output.shape) for number, target in enumerate(targets)
    ]
    return torch.stack(per_target, 1).reshape(rounds * len(targets))


def as_places(output: Tensor) -> Tensor:
    """(M, C, h, w), (M, T, C) or (M, C) → (M, places, C)."""
    if output.ndim == 4:
        return output.flatten(2).transpose(1, 2)
    if output.ndim == 2:
        return output[:, None]
    if output.ndim == 3:
        return output
    raise UsageError(f"That layer gives an output of shape {tuple(output.shape)}: no maps, tokens or vectors.")


def _unit_score(places: Tensor, target: Target, shape: torch.Size) -> Tensor:
    """(k, places, C) → (k,)."""
    channels = places.shape[2]
    if target.direction:
        if len(target.direction) != channels:
            raise UsageError(
                f"A direction of {len(target.direction)} numbers does not fit layer '{target.layer}' of {channels} "
                "channels. Give one number per channel."
            )
        return (places @ F.normalize(places.new_tensor(target.direction), dim=0)).mean(1)
    if target.number is None:
        return places.square().mean((1, 2))  # Mordvintsev et al. (2015): whatever is there already, more of it
    if not 0 <= target.number < channels:
        raise UsageError(f"No channel {target.number}: layer '{target.layer}' has {channels}, counted from 0.")
    values = places[:, :, target.number]
    if target.unit is Unit.channel:
        return values.mean(1)
    width = shape[3] if len(shape) == 4 else 1
    return values[:, (values.shape[1] // width // 2) * width + width // 2]


def likeness_of(output: Tensor, count: int) -> Tensor:
    """A layer's output for k rounds over `count` pictures → () mean over pictures of the likeness to all others.

    Lucid's diversity term: products of the normalised Gram matrices of channels, compared within each round.
    """
    places = as_places(output)
    grams = F.normalize((places.transpose(1, 2) @ places).flatten(1), dim=1)
    rounds = grams.reshape(-1, count, grams.shape[1])
    products = rounds @ rounds.transpose(1, 2)
    others = products.sum((1, 2)) - products.diagonal(dim1=1, dim2=2).sum(1)
    return others.mean() / count
