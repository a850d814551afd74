"""How good generated pictures are: all distances to real ones, from the same features."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cvtool.errors import BadInputError
from cvtool.gan.features import FeatureModel
from cvtool.gan.metrics import (
    balls,
    frechet_estimate,
    kernel_estimate,
    moments,
    nearest,
    neighbourhood,
    within_kernel,
)
from cvtool.gan.use_options import FEWEST_JUDGED
from cvtool.progress import Progress, silent
from cvtool.tensors import seeded


@dataclass(frozen=True)
class Evaluation:
    """How far samples are from real pictures; intervals hold 95 % of equally good sets of samples.

    Attributes:
        fd, fd_low, fd_high: Fréchet distance, ≥ 0, lower is better. Real pictures do not reach 0 either: it falls with
            the number of pictures, so only equal numbers can be compared.
        kd, kd_low, kd_high: kernel distance (unbiased), lower is better; about 0 for real pictures.
        precision, recall: share of samples that look real; share of real pictures that are like samples.
        density, coverage: the same, less easily fooled by outliers.
        nearest: distance to the nearest real picture against that among real pictures; near 0 means copies.
        feature_model: what the distances were measured with.
        samples, reference: numbers of pictures.
    """

    fd: float
    fd_low: float
    fd_high: float
    kd: float
    kd_low: float
    kd_high: float
    precision: float
    recall: float
    density: float
    coverage: float
    nearest: float
    feature_model: str
    samples: int
    reference: int

    def facts(self) -> dict[str, float | int | str]:
        """As keys of a JSON object."""
        return asdict(self)


class Judge:
    """Real pictures that samples are compared with; what is needed of them is computed once."""

    def __init__(self, reference: NDArray[np.uint8], model: FeatureModel, *, progress: Progress = silent) -> None:
        """Compute the reference's features.

        Args:
            reference: real pictures (M, H, W, C) uint8; some thousands.
            model: makes the features, here and of the samples.
            progress: hears how many pictures are done.

        Raises:
            BadInputError: fewer than 10, or not pictures.
        """
        self.model = model
        self._reference = self._features(reference, progress)
        self._moments = moments(self._reference)
        self._within = within_kernel(self._reference)
        self._balls = balls(self._reference)

    def evaluate(self, samples: NDArray[np.uint8], *, progress: Progress = silent) -> Evaluation:
        """All distances of samples (N, H, W, C) uint8; the same for the same samples.

        Raises:
            BadInputError: fewer than 10, or not pictures.
        """
        features = self._features(samples, progress)
        generator = seeded(0)  # of the bootstrap
        fd = frechet_estimate(self._moments, features, generator)
        kd = kernel_estimate(self._reference, self._within, features, generator)
        place = neighbourhood(self._balls, balls(features))
        return Evaluation(
            fd=fd.value,
            fd_low=fd.low,
            fd_high=fd.high,
            kd=kd.value,
            kd_low=kd.low,
            kd_high=kd.high,
            precision=place.precision,
            recall=place.recall,
            density=place.density,
            coverage=place.coverage,
            nearest=place.nearest,
            feature_model=self.model.name,
            samples=len(features),
            reference=len(self._reference),
        )

    def nearest(self, samples: NDArray[np.uint8], count: int = 1) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The reference pictures most like each sample → indices into the reference, distances; (N, count).

        Raises:
            BadInputError: not pictures.
        """
        features = torch.from_numpy(self.model.features(samples)).to(self.model.device)
        indices, distances = nearest(features, self._reference, count)
        return indices.cpu().numpy(), distances.cpu().numpy()

    def _features(self, pictures: NDArray[np.uint8], progress: Progress) -> torch.Tensor:
        if len(pictures) < FEWEST_JUDGED:
            raise BadInputError(f"{len(pictures)} pictures are too few to be judged. Give at least {FEWEST_JUDGED}.")
        return torch.from_numpy(self.model.features(pictures, progress=progress)).to(self.model.device)
