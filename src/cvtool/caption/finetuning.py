"""Training of a captioner together with the network that sees: from pictures to words, with one gradient.

The network is that of `extractor`, its batch norms in evaluation mode: a batch of a few dozen pictures tells less of
means and variances than ImageNet did, and so a picture's features never hang on its company. Scales and shifts are
trained like all other weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cvtool.caption.batches import Corpus
from cvtool.caption.checkpoint import NETWORK
from cvtool.caption.decoder import Captioner
from cvtool.caption.extractor import Extractor
from cvtool.caption.features import Pca
from cvtool.caption.options import TrainOptions
from cvtool.caption.pictures import KeptRows
from cvtool.caption.training import Trainer, groups
from cvtool.caption.vocabulary import Vocabulary
from cvtool.distributed import ALONE, Group, Share


class Sight:
    """Features of pictures by a network that changes; stands in for those of a file.

    Attributes:
        tuned: name → parameter, of all that take part in the features; they get gradients from now on.
    """

    can_flip = True

    def __init__(
        self,
        pictures: KeptRows,
        extractor: Extractor,
        *,
        attention: bool,
        pca: Pca | None = None,
        tuned: dict[str, nn.Parameter] | None = None,
    ) -> None:
        """Look through a network.

        Args:
            pictures: framed for it.
            extractor: the network, not folded: a copy would not see its weights move.
            attention: give features of places; else their mean.
            pca: what they go through.
            tuned: what is trained, unless all that features depend on.
        """
        self.extractor = extractor
        self.tuned = trainable(extractor) if tuned is None else tuned
        self._pictures, self._attention, self._pca = pictures, attention, pca

    @property
    def channels(self) -> int:
        """Features a place has."""
        return self.extractor.origin.channels if self._pca is None else len(self._pca.components)

    def read(self, numbers: Sequence[int], flipped: bool) -> NDArray[np.floating]:
        """(N, P, C) of some pictures, computed now, without gradients: as a file or `describe` would give them."""
        size = self.extractor.batch
        found = []
        for start in range(0, len(numbers), size):
            canvases = list(self._pictures.read(numbers[start : start + size]).astype(np.float32) / 255)
            pooled, spatial = self.extractor.halves(canvases, flipped=flipped)
            found.append(spatial if self._attention else pooled[:, None])
        values = np.concatenate(found)
        return values if self._pca is None else self._pca.project(values)

    def see(self, numbers: Sequence[int], mirrored: NDArray[np.bool_]) -> Tensor:
        """(N, P, C) float32 of some pictures, of the mirror images where `mirrored` (N,) says so; with gradients."""
        seen = self._places(numbers, mirrored)
        if self._pca is None:
            return seen
        mean, components = (torch.from_numpy(part).to(seen.device) for part in (self._pca.mean, self._pca.components))
        return (seen - mean) @ components.T

    def _places(self, numbers: Sequence[int], mirrored: NDArray[np.bool_]) -> Tensor:
        """The same before principal components."""
        device = self.extractor.model.device
        pixels = torch.from_numpy(self._pictures.read(numbers)).to(device)
        x = pixels.permute(0, 3, 1, 2).float() / 255  # channels_last by the way it lies
        x = torch.where(torch.from_numpy(mirrored).to(device)[:, None, None, None], x.flip(3), x)
        return self._pooled(self.extractor.maps(x))

    def _pooled(self, maps: Tensor) -> Tensor:
        """(N, C, h, w) → (N, P, C): all places, or their mean."""
        places = maps.flatten(2).transpose(1, 2)
        return places if self._attention else places.mean(1, keepdim=True)


class FineTuner(Trainer):
    """`Trainer` that also moves the network's weights, at a rate of their own; each picture is mirrored or not."""

    def __init__(
        self,
        captioner: Captioner,
        corpus: Corpus,
        development: Corpus,
        vocabulary: Vocabulary,
        options: TrainOptions,
        sight: Sight,
        group: Group = ALONE,
    ) -> None:
        self.sight = sight
        super().__init__(captioner, corpus, development, vocabulary, options, group)

    def parameters(self) -> list[nn.Parameter]:
        """All that is trained."""
        return [*super().parameters(), *self.sight.tuned.values()]

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The captioner's, then the network's."""
        return [*super().parameter_groups(), *groups(self.sight.tuned.values(), self.options.decay)]

    def weights(self) -> dict[str, Tensor]:
        """All that changes in training, by name; not copied."""
        return {**super().weights(), **{NETWORK + name: tensor for name, tensor in self.network_weights().items()}}

    def network_weights(self) -> dict[str, Tensor]:
        """Name → value of the network's weights, as a checkpoint keeps them; not copied."""
        return {name: parameter.detach() for name, parameter in self.sight.tuned.items()}

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Take what `weights` gave."""
        super().load_weights({name: value for name, value in weights.items() if not name.startswith(NETWORK)})
        with torch.no_grad():
            for name, parameter in self.sight.tuned.items():
                parameter.copy_(weights[NETWORK + name])

    def rates(self, step: int) -> list[float]:
        """The learning rate of each of the optimiser's groups in a step, counted from 0."""
        options = self.options
        own = self.curve(step, options.finetune_rate, min(options.finetune_rate, options.scst_rate))
        return [*super().rates(step), own, own]

    def _features(self, numbers: Sequence[int], share: Share, seed: int) -> Tensor:
        mirrored = np.random.default_rng(seed).random(len(numbers)) < 0.5
        return self.sight.see([self.corpus.rows[number] for number in numbers[share.rows]], mirrored[share.rows])


def trainable(extractor: Extractor, maps: Callable[[], Tensor] | None = None) -> dict[str, nn.Parameter]:
    """Parameters that the last map depends on: the classifier's are not among them. All others stay without gradients.

    Args:
        extractor: of the network.
        maps: computes such a map; from pixels if not given.
    """
    module, side = extractor.model.module, extractor.model.card.input_size
    known = dict(module.named_parameters())
    module.requires_grad_(True)
    with torch.enable_grad():
        found = maps() if maps else extractor.maps(torch.zeros(1, 3, side, side, device=extractor.model.device))
        gradients = torch.autograd.grad(found.sum(), list(known.values()), allow_unused=True)
    pairs = zip(known.items(), gradients, strict=True)
    tuned = {name: each for (name, each), gradient in pairs if gradient is not None}
    module.requires_grad_(False)
    for parameter in tuned.values():
        parameter.requires_grad_(True)
    return tuned
