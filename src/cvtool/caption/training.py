"""Training of captioners: teacher forcing on people's captions, then self-critical on CIDEr-D."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cvtool.caption.batches import Corpus, batches, padded
from cvtool.caption.decoder import Captioner
from cvtool.caption.decoding import allowed, draw
from cvtool.caption.epochs import Epoch, Position
from cvtool.caption.evaluation import captions_and_loss, metrics_of, perplexity, texts_of
from cvtool.caption.losses import log_probabilities, self_critical_loss, temporal_softmax_loss
from cvtool.caption.metrics import CiderD, Metrics
from cvtool.caption.options import Decode, DecodeOptions, TrainOptions
from cvtool.caption.vocabulary import END, NULL, START, Vocabulary
from cvtool.distributed import ALONE, Group, Share
from cvtool.errors import CvtoolError, UsageError
from cvtool.progress import Progress, Step, Stop, never, silent
from cvtool.tensors import autocast, seeded


class Trainer:
    """One run: it can be stopped after any step, saved, and continued to the same end.

    Randomness comes from the seed, the epoch and the step alone, so the position is all the random state there is.

    Raises:
        UsageError: self-critical epochs that draw one caption for each picture.
    """

    def __init__(
        self,
        captioner: Captioner,
        corpus: Corpus,
        development: Corpus,
        vocabulary: Vocabulary,
        options: TrainOptions,
        group: Group = ALONE,
    ) -> None:
        if options.scst and options.scst_samples < 2:
            raise UsageError(
                f"--scst-samples {options.scst_samples} leaves no other caption to compare one with. Give 2 or more."
            )
        self.captioner, self.corpus, self.development = captioner, corpus, development
        self.vocabulary, self.options, self.group = vocabulary, options, group
        self.position = Position()
        self.optimizer = torch.optim.AdamW(self.parameter_groups(), lr=options.rate, betas=(0.9, 0.98))
        self.device = next(captioner.parameters()).device
        self._best: dict[str, Tensor] = {}
        self._last: list[dict[str, Tensor]] = []
        self._cider: CiderD | None = None

    def parameters(self) -> list[nn.Parameter]:
        """All that is trained."""
        return list(self.captioner.parameters())

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The same as the optimiser takes it; see `rates`."""
        return groups(self.captioner.parameters(), self.options.decay)

    def weights(self) -> dict[str, Tensor]:
        """All that changes in training, by name; not copied."""
        return dict(self.captioner.state_dict())

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Take what `weights` gave."""
        self.captioner.load_state_dict(weights)

    @property
    def epochs(self) -> int:
        """In all, self-critical ones included."""
        return self.options.epochs + self.options.scst

    @property
    def steps_per_epoch(self) -> int:
        """Batches of one pass over the training split."""
        return math.ceil(len(self.corpus) / self.options.batch)

    def run(
        self,
        *,
        on_epoch: Callable[[Epoch], None],
        on_step: Callable[[], None] = lambda: None,
        after_epoch: Callable[[], None] = lambda: None,
        progress: Progress = silent,
        stop: Stop = never,
    ) -> bool:
        """Train to the end; False when `stop` ended it before. `on_step` and `after_epoch` may save.

        Of a group all processes stop when one is asked to, and only the first judges, and calls the listeners.

        Raises:
            CvtoolError: the loss is not finite.
        """
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            while self.position.epoch < self.epochs:
                if not self._epoch(on_step, progress, stop):
                    return False
                with self._mean_of_the_last():
                    epoch = self._judge()
                    if self.group.is_main:
                        on_epoch(epoch)
                self._advance()
                if self.group.is_main:
                    after_epoch()
        return True

    def state(self) -> dict[str, Any]:
        """All that `load_state` needs to go on exactly: tensors, numbers and texts."""
        return {
            "captioner": self.weights(),
            "optimizer": self.optimizer.state_dict(),
            "position": asdict(self.position),
            "best": self._best,
            "last": self._last,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.load_weights(state["captioner"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.position = Position(**deepcopy(state["position"]))
        self._best = dict(state["best"])
        self._last = list(state.get("last", []))  # states had none when weights were not averaged yet

    @contextmanager
    def _mean_of_the_last(self) -> Iterator[None]:
        """A block with the mean of the weights after the last epochs (Izmailov et al. 2018, arXiv:1803.05407)."""
        if self.options.average == 1:
            yield
            return
        own = {name: tensor.detach().clone() for name, tensor in self.weights().items()}
        self._last = [*self._last, own][-self.options.average :]
        self.load_weights({name: torch.stack([each[name] for each in self._last]).mean(0) for name in own})
        try:
            yield
        finally:
            self.load_weights(own)

    def _advance(self) -> None:
        """To the next epoch; over to the self-critical ones, with the best weights, when patience is at an end."""
        position, options = self.position, self.options
        position.epoch += 1
        position.batch, position.sums = 0, {}
        out_of_patience = position.epoch - 1 - position.best_epoch >= options.patience
        if position.epoch < options.epochs and out_of_patience:
            position.epoch = options.epochs
        if position.epoch == options.epochs and self._best:
            self.load_weights(self._best)
            self._last = []

    def _epoch(self, on_step: Callable[[], None], progress: Progress, stop: Stop) -> bool:
        position, options = self.position, self.options
        critical = position.epoch >= options.epochs
        plan = batches(self.corpus, options.batch, options.seed, position.epoch)
        stage = f"epoch {position.epoch + 1}" + (", self-critical" if critical else "")
        self.captioner.train()
        while position.batch < len(plan):
            if self.group.any(stop()):
                return False
            start = time.perf_counter()
            seed = int(np.random.SeedSequence([options.seed, position.epoch, position.batch]).generate_state(1)[0])
            torch.manual_seed(seed)
            numbers = plan[position.batch]
            facts = self._learn(numbers, seed, critical=critical)
            if not math.isfinite(facts["loss"]):
                raise CvtoolError(f"Training went wrong: the loss is {facts['loss']}. Start again with a lower rate.")
            position.batch += 1
            elapsed = time.perf_counter() - start
            position.seconds += elapsed
            for key, value in {**facts, "seconds": elapsed}.items():
                position.sums[key] = position.sums.get(key, 0.0) + value
            progress(Step(stage, position.batch, len(plan), {"loss": facts["loss"] / facts["captions"]}))
            if self.group.is_main:
                on_step()
        return True

    def _learn(self, numbers: Sequence[int], seed: int, *, critical: bool) -> dict[str, float]:
        """One step on some pictures → their loss (or negative reward), captions and tokens, each summed."""
        share = self.captioner.dropout.share = self.group.share(len(numbers))
        if share.count:
            loss, own = (self._critical_step if critical else self._step)(numbers, share, seed)
            if not math.isfinite(loss.item()):
                own = {**own, "loss": loss.item()}
        else:  # an epoch's last batch may have fewer pictures than there are processes
            loss, own = None, dict.fromkeys(("loss", "captions", "tokens"), 0.0)
        facts = self.group.sums(own)
        if not math.isfinite(facts["loss"]):
            return facts  # nothing can be learned from it
        options, position = self.options, self.position
        rates = self.rates(position.epoch * self.steps_per_epoch + position.batch)
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        if loss is not None:
            loss.backward()  # type: ignore[no-untyped-call]
        self.group.sum_gradients(self.parameters())
        torch.nn.utils.clip_grad_norm_(self.parameters(), options.clip)
        self.optimizer.step()
        return facts

    def _features(self, numbers: Sequence[int], share: Share, seed: int) -> Tensor:
        """Features (N, P, C) of a share of a batch or, as the seed will have it, of their mirror images."""
        rows = [self.corpus.rows[number] for number in numbers[share.rows]]
        flipped = self.corpus.features.can_flip and seed % 2 == 1
        return torch.from_numpy(self.corpus.features.read(rows, flipped)).to(self.device).float()

    def _step(self, numbers: Sequence[int], share: Share, seed: int) -> tuple[Tensor, dict[str, float]]:
        """The loss of people's captions of a share of a batch, which sums up to the loss of the batch."""
        return self._taught(self._features(numbers, share, seed), numbers, share)

    def _taught(self, features: Tensor, numbers: Sequence[int], share: Share) -> tuple[Tensor, dict[str, float]]:
        """The same, of pictures whose features are there."""
        batch = torch.from_numpy(padded([self.corpus.captions[number] for number in numbers]))
        captions = int((batch[..., 1:] != NULL).any(-1).sum())
        words = batch[share.rows].to(self.device)
        given, right = words[..., :-1], words[..., 1:]
        mask = right != NULL
        with autocast(self.device, self.options.precision):
            seen = self.captioner.see_pictures(features)
            given = self._mixed(seen, given, mask, share)
            x, _, _ = self.captioner(seen, given)
            scores = self.captioner.score(x[mask])
        loss = temporal_softmax_loss(scores, right[mask], captions, self.options.smoothing)
        own = int(mask.any(-1).sum())
        return loss, {"loss": loss.item() * captions, "captions": own, "tokens": int(mask.sum())}

    def _mixed(self, seen: object, given: Tensor, mask: Tensor, rows: Share | None = None) -> Tensor:
        """Some of the given words replaced by the network's own (Bengio et al. 2015, arXiv:1506.03099).

        Differs: all at once, drawn after a first pass over the right words (Mihaylova & Martins 2019,
        arXiv:1906.07651), so that the fused cells need not stop at every word.
        """
        share = self.options.scheduled * self.position.epoch / max(self.options.epochs - 1, 1)
        if share <= 0:
            return given
        rows = rows or Share.whole(len(given))
        with torch.no_grad():
            x, _, _ = self.captioner(seen, given)
            chances = torch.softmax(self.captioner.score(x).float(), -1)
            # The largest of p / e, e exponential, is a draw from p; so the e of a batch can be drawn before it is cut.
            shape = chances.shape[1:]
            own = (chances / rows.draw(lambda count: chances.new_empty(count, *shape).exponential_())).argmax(-1)
        shifted = torch.cat([given[..., :1], own[..., :-1]], -1)
        uniform = rows.draw(lambda count: torch.rand(count, *given.shape[1:], device=given.device))
        replace = (uniform < share) & mask
        replace[..., 0] = False  # <START> is always right
        return torch.where(replace, shifted, given)

    def _critical_step(self, numbers: Sequence[int], share: Share, seed: int) -> tuple[Tensor, dict[str, float]]:
        """The self-critical loss of captions drawn for a share of a batch, which sums up to the loss of the batch.

        People's captions, with a weight of their own beside the reward, keep the network from growing surer of
        everything, until all its captions are the same and nothing is left to learn from.
        """
        options = self.options
        features = self._features(numbers, share, seed)
        self.captioner.eval()
        with torch.no_grad(), autocast(self.device, options.precision):
            seen = self.captioner.see_pictures(features)
            generator = seeded(seed, self.device)
            words = draw(
                self.captioner, seen, options.scst_samples, options.longest, generator, options.scst_temperature, share
            )
        self.captioner.train()
        self.captioner.dropout.eval()  # the network that drew the captions is the one that learns from them
        rewards = torch.tensor(self._rewards(numbers[share.rows], words), device=self.device)
        start = torch.full_like(words[..., :1], START)
        with autocast(self.device, options.precision):
            x, _, _ = self.captioner(self.captioner.see_pictures(features), torch.cat([start, words[..., :-1]], -1))
            # Of what could be drawn: else the network may put its weight on words that it never has to answer for.
            logs = log_probabilities(allowed(self.captioner.score(x)) / options.scst_temperature, words)
        loss = share.weight * self_critical_loss(logs.sum(-1), rewards)
        if options.scst_anchor > 0:
            self.captioner.dropout.train()
            loss = loss + options.scst_anchor * self._taught(features, numbers, share)[0]
        drawn = words.shape[0] * words.shape[1]
        return loss, {"loss": -float(rewards.sum()), "captions": drawn, "tokens": int((words != NULL).sum())}

    def _rewards(self, numbers: Sequence[int], words: Tensor) -> list[list[float]]:
        """CIDEr-D of drawn captions (N, K, T) against people's; <END> counts as a word, so that captions end."""
        if self._cider is None:
            known = zip(self.corpus.names, self.corpus.captions, strict=True)
            self._cider = CiderD({name: [tuple(caption[1:].tolist()) for caption in each] for name, each in known})
        return [
            [self._cider.score(self.corpus.names[number], _until_end(row)) for row in each]
            for number, each in zip(numbers, words.tolist(), strict=True)
        ]

    def rates(self, step: int) -> list[float]:
        """The learning rate of each of the optimiser's groups in a step, counted from 0."""
        return [self.rate(step)] * 2

    def rate(self, step: int) -> float:
        """The captioner's learning rate in a step, counted from 0."""
        return self.curve(step, self.options.rate, self.options.scst_rate)

    def curve(self, step: int, highest: float, critical: float) -> float:
        """A learning rate that grows to `highest` and falls; in the self-critical epochs it grows to `critical`."""
        options = self.options
        total = options.epochs * self.steps_per_epoch
        if step >= total:
            return critical * min(1.0, (step - total + 1) / max(options.warmup, 1))
        if step < options.warmup:
            return highest * (step + 1) / options.warmup
        return highest * (0.55 + 0.45 * math.cos(math.pi * step / total))

    def _judge(self) -> Epoch:
        """Caption the development split and keep account."""
        position, sums = self.position, self.position.sums
        start = time.perf_counter()
        captions, measured = self._measured() if self.group.is_main else ({}, ({}, 0.0))
        metrics, hardness = self.group.from_main(measured)
        position.seconds += time.perf_counter() - start
        is_best = metrics["cider"] > position.best
        if is_best:
            position.best, position.best_epoch = metrics["cider"], position.epoch
            self._best = {name: tensor.detach().clone() for name, tensor in self.weights().items()}
        return Epoch(
            position.epoch + 1,
            position.epoch * self.steps_per_epoch + position.batch,
            "self-critical" if position.epoch >= self.options.epochs else "words",
            sums["loss"] / sums["captions"],
            hardness,
            Metrics(**metrics),
            position.seconds,
            sums["tokens"] / sums["seconds"],
            is_best,
            captions,
        )

    def _measured(self) -> tuple[dict[str, str], tuple[dict[str, Any], float]]:
        """Captions of the development split; their metrics, and the perplexity of people's."""
        self.captioner.eval()
        greedy = DecodeOptions(decode=Decode.greedy, longest=self.options.longest)
        found, loss, words = captions_and_loss(
            self.captioner, self.development, greedy, self.device, self.options.precision
        )
        metrics = metrics_of(found, self.development, self.vocabulary)
        return texts_of(found, self.development, self.vocabulary), (vars(metrics), perplexity(loss, words))


def groups(parameters: Iterable[nn.Parameter], decay: float) -> list[dict[str, Any]]:
    """For the optimiser: weights decay, biases and the scales of norms do not."""
    known = list(parameters)
    weights = [parameter for parameter in known if parameter.ndim > 1]
    rest = [parameter for parameter in known if parameter.ndim <= 1]
    return [{"params": weights, "weight_decay": decay}, {"params": rest, "weight_decay": 0.0}]


def _until_end(row: list[int]) -> list[int]:
    return row[: row.index(END) + 1] if END in row else row
