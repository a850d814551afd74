"""Training without torch: the course's captioner by its hand-derived gradients. Slow, and easy to follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from cvtool.caption.batches import Corpus, padded
from cvtool.caption.decoder import Captioner
from cvtool.caption.options import ModelOptions, TrainOptions
from cvtool.caption.training import Trainer
from cvtool.caption.vocabulary import NULL, Vocabulary
from cvtool.errors import UsageError
from cvtool.reference.captioning import loss_and_gradients
from cvtool.reference.decoder import checkpoint_arrays, course_parameters
from cvtool.reference.optimizers import AdamMemory, adam_step, clipped
from cvtool.tensors import doubled

ASKED = {"attention": False, "layers": 1, "tie": False, "dropout": 0.0}
ASKED_OF_TRAINING = {"smoothing": 0.0, "scheduled": 0.0, "scst": 0, "decay": 0.0, "finetune": False, "average": 1}
FLAGS = (
    "--no-attention --layers 1 --no-tie --dropout 0 --smoothing 0 --decay 0, "
    "without --scheduled, --scst, --average and --finetune"
)


def check_options(model: ModelOptions, train: TrainOptions) -> None:
    """The hand-derived gradients are of the course's captioner and loss, nothing else.

    Raises:
        UsageError: something else is asked.
    """
    pairs = [(model, ASKED), (train, ASKED_OF_TRAINING)]
    if any(getattr(options, name) != value for options, asked in pairs for name, value in asked.items()):
        raise UsageError(f"--engine numpy trains the course's captioner. Ask for it: {FLAGS}.")


class NumpyTrainer(Trainer):
    """`Trainer` whose steps are NumPy's; torch's captioner only reads captions out between epochs."""

    def __init__(
        self, captioner: Captioner, corpus: Corpus, development: Corpus, vocabulary: Vocabulary, options: TrainOptions
    ) -> None:
        check_options(captioner.options, options)
        super().__init__(captioner, corpus, development, vocabulary, options)
        self._cell = captioner.options.cell.value
        self._memory = AdamMemory()
        self._read()

    def _read(self) -> None:
        arrays = {name: doubled(tensor).cpu().numpy() for name, tensor in self.captioner.state_dict().items()}
        self._parameters = course_parameters(arrays, self._cell)

    def _learn(self, numbers: Sequence[int], seed: int, *, critical: bool) -> dict[str, float]:
        counts = [len(self.corpus.captions[number]) for number in numbers]
        rows = [self.corpus.rows[number] for number in numbers]
        flipped = self.corpus.features.can_flip and seed % 2 == 1
        features = self.corpus.features.read(rows, flipped).astype(np.float64).mean(1)
        words = padded([self.corpus.captions[number] for number in numbers])
        words = np.concatenate([each[:count] for each, count in zip(words, counts, strict=True)])
        loss, gradients = loss_and_gradients(np.repeat(features, counts, 0), words, self._parameters, self._cell)
        self._parameters, self._memory = adam_step(
            self._parameters,
            clipped(gradients, self.options.clip),
            self._memory,
            self.rate(self.position.epoch * self.steps_per_epoch + self.position.batch),
            beta2=0.98,
        )
        arrays = checkpoint_arrays(self._parameters, self._cell)
        self.captioner.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
        tokens = int((words[:, 1:] != NULL).sum())
        return {"loss": loss * len(words), "captions": len(words), "tokens": tokens}

    def state(self) -> dict[str, Any]:
        """As `Trainer.state`, with NumPy's own parameters and memory as tensors in double precision."""
        kept = {"parameters": self._parameters, "mean": self._memory.mean, "square": self._memory.square}
        tensors = {key: {name: torch.from_numpy(a) for name, a in arrays.items()} for key, arrays in kept.items()}
        return {**super().state(), "numpy": {"steps": self._memory.steps, **tensors}}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        super().load_state(state)
        kept = state["numpy"]
        arrays = {key: {name: t.numpy() for name, t in kept[key].items()} for key in ("parameters", "mean", "square")}
        self._parameters = arrays["parameters"]
        self._memory = AdamMemory(int(kept["steps"]), arrays["mean"], arrays["square"])
