"""From scores of words to captions: greedy, sampled, and by beam search, for many pictures at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cvtool.caption.decoder import State
from cvtool.caption.options import Decode, DecodeOptions
from cvtool.caption.vocabulary import END, NULL, START, UNKNOWN
from cvtool.distributed import Share
from cvtool.tensors import doubled, seeded

NEVER = (NULL, START, UNKNOWN)
"""What no caption says; nor does one end before its first word."""


class Kept(Protocol):
    """What a reader keeps of N pictures."""

    @property
    def first(self) -> Tensor:
        """(N, ·) something of each; tells how many there are, and where."""

    def __getitem__(self, chosen: slice) -> Any:
        """Some of the pictures."""


class Reader(Protocol):
    """What captions can be read out of: `Captioner`, `Ensemble` or `NumpyCaptioner`."""

    def see_pictures(self, features: Tensor) -> Any:
        """Features (N, P, C) → what is `Kept` of them."""

    def __call__(self, seen: Any, words: Tensor, state: State | None = None) -> tuple[Tensor, State, Tensor | None]:
        """Words (N, K, T) → what `score` takes, state, attention (N, K, T, P)."""

    def score(self, x: Tensor) -> Tensor:
        """(..., ·) → scores of the words (..., V)."""


@dataclass(frozen=True)
class Sentence:
    """One caption as numbers.

    Attributes:
        words: without <START> and <END>.
        log_probability: of the words, and of <END> unless the caption was cut at its longest.
        probabilities: of each of these, one number a word (and <END>).
    """

    words: tuple[int, ...]
    log_probability: float
    probabilities: tuple[float, ...]


@torch.no_grad()
def decode(captioner: Reader, seen: Kept, options: DecodeOptions) -> list[list[Sentence]]:
    """What N pictures show → for each its `options.candidates` captions, best first; the same for every batch size."""
    if options.decode is Decode.sample:
        drawn = _sampled(captioner, seen, options)
    elif options.decode is Decode.beam and max(options.beam, options.candidates) > 1:
        drawn = beam_search(captioner, seen, options)
    else:
        words = draw_greedily(captioner, seen, options.longest, options.prefix)
        drawn = [[sentence] for sentence in _cut(words[:, 0])]
    found = [_weigh(captioner, seen[number : number + 1], each, options) for number, each in enumerate(drawn)]
    if options.decode is Decode.sample:
        for sentences in found:
            sentences.sort(key=lambda sentence: -sentence.log_probability)
    return found


def draw_greedily(captioner: Reader, seen: Kept, longest: int, prefix: Sequence[int] = ()) -> Tensor:
    """The likeliest next word, again and again → (N, 1, T) words, <END> and then <NULL> where a caption is over."""

    def choose(scores: Tensor) -> Tensor:
        return scores.argmax(-1)

    return _unroll(captioner, seen, 1, longest, prefix, choose)


def draw(
    captioner: Reader,
    seen: Kept,
    samples: int,
    longest: int,
    generator: torch.Generator,
    temperature: float = 1.0,
    share: Share | None = None,
) -> Tensor:
    """Captions drawn from the network's own distribution → (N, samples, T) words, as `draw_greedily` gives them.

    With `share` the N pictures are those rows of a batch, and get the captions that they would get in all of it.
    """
    rows = share or Share.whole(len(seen.first))

    def choose(scores: Tensor) -> Tensor:
        uniform = rows.draw(lambda count: torch.rand(count, samples, generator=generator, device=scores.device))
        return _inverse(torch.softmax(scores / temperature, -1), uniform)

    return _unroll(captioner, seen, samples, longest, (), choose)


def _sampled(captioner: Reader, seen: Kept, options: DecodeOptions) -> list[list[tuple[int, ...]]]:
    # Every picture has its own random numbers, so that it gets the same captions alone and in company.
    uniform = torch.rand(options.candidates, options.longest + 1, generator=seeded(options.seed))
    step = iter(range(options.longest + 1))

    def choose(scores: Tensor) -> Tensor:
        scores = narrowed(scores / max(options.temperature, 1e-6), options.top_k, options.top_p)
        now = uniform[:, next(step)].to(scores.device).expand(scores.shape[:2])
        return _inverse(torch.softmax(scores, -1), now)

    words = _unroll(captioner, seen, options.candidates, options.longest, options.prefix, choose)
    return [_cut(each) for each in words]


def narrowed(scores: Tensor, top_k: int, top_p: float) -> Tensor:
    """Scores (..., V) with −inf for words that are neither among the `top_k` nor in the nucleus of `top_p`.

    Nucleus: Holtzman et al. 2020, arXiv:1904.09751. The likeliest word always stays.
    """
    if top_k:
        least = scores.topk(min(top_k, scores.shape[-1]), -1).values[..., -1:]
        scores = scores.masked_fill(scores < least, -torch.inf)
    if top_p < 1:
        ordered, order = scores.sort(-1, descending=True)
        shares = torch.softmax(ordered, -1)
        outside = shares.cumsum(-1) - shares >= top_p
        outside[..., 0] = False
        scores = scores.masked_fill(outside.scatter(-1, order, outside), -torch.inf)
    return scores


def _inverse(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """Words by the inverse of the cumulated probabilities (N, K, V) at `uniform` (N, K) in [0, 1)."""
    cumulated = doubled(probabilities).cumsum(-1)
    found = torch.searchsorted(cumulated, (doubled(uniform) * cumulated[..., -1])[..., None], right=True)
    return found.squeeze(-1).to(probabilities.device)


def _unroll(
    captioner: Reader,
    seen: Kept,
    captions: int,
    longest: int,
    prefix: Sequence[int],
    choose: Callable[[Tensor], Tensor],
) -> Tensor:
    """Word after word, where `choose` makes words (N, K) of scores (N, K, V) → (N, K, T)."""
    count = len(seen.first)
    word = torch.full((count, captions), START, device=seen.first.device)
    over = torch.zeros_like(word, dtype=torch.bool)
    state: State | None = None
    found = []
    for place in range(longest + 1):
        x, state, _ = captioner(seen, word[..., None], state)
        scores = _allowed(captioner.score(x[:, :, 0]), first=place == 0)
        word = torch.full_like(word, prefix[place]) if place < len(prefix) else choose(scores)
        if place == longest:
            word = torch.full_like(word, END)  # a caption that found no end is cut
        word = word.masked_fill(over, NULL)
        found.append(word)
        over = over | (word == END)
        if bool(over.all()):
            break
    return torch.stack(found, -1)


def _allowed(scores: Tensor, *, first: bool) -> Tensor:
    scores = scores.float()
    scores[..., [*NEVER, *([END] if first else [])]] = -torch.inf
    return scores


def allowed(scores: Tensor) -> Tensor:
    """Scores (..., T, V) of captions from their first word on, with −inf for what is never said at its place."""
    return torch.cat([_allowed(scores[..., :1, :], first=True), _allowed(scores[..., 1:, :], first=False)], -2)


def _cut(words: Tensor) -> list[tuple[int, ...]]:
    """(K, T) → the words before <END>."""
    found = []
    for row in words.tolist():
        found.append(tuple(row[: row.index(END)] if END in row else row))
    return found


def beam_search(captioner: Reader, seen: Kept, options: DecodeOptions) -> list[list[tuple[int, ...]]]:
    """For each picture its candidates, best first by log probability / words ** `length_penalty`.

    A beginning that ends is set aside; the search goes on until none of those left can come before the worst that is
    wanted, or until `longest`: beginnings that are still open then are taken as they are, so there is always an answer.
    """
    count, width = len(seen.first), max(options.beam, options.candidates)
    device = seen.first.device
    prefix = list(options.prefix)
    x, state, _ = captioner(seen, torch.tensor([START, *prefix], device=device).expand(count, 1, -1))
    total = torch.zeros(count, 1, device=device)
    words = torch.tensor(prefix, device=device, dtype=torch.long).expand(count, 1, -1)
    ended: list[list[tuple[float, tuple[int, ...]]]] = [[] for _ in range(count)]
    x = x[:, :, -1]
    for place in range(len(prefix), options.longest):
        logs = torch.log_softmax(_allowed(captioner.score(x), first=place == 0), -1)
        vocabulary = logs.shape[-1]
        _set_aside(ended, total + logs[..., END], words, options)
        logs[..., END] = -torch.inf
        sums = (total[..., None] + logs).flatten(1)
        total, index = sums.topk(min(width, sums.shape[1]), 1)
        origin, word = index // vocabulary, index % vocabulary
        words = torch.cat([words.gather(1, origin[..., None].expand(-1, -1, words.shape[2])), word[..., None]], 2)
        if _settled(ended, total[:, 0], options):
            break
        state = tuple(part.gather(1, origin[..., None].expand(-1, -1, part.shape[2])) for part in state)
        x, state, _ = captioner(seen, word[..., None], state)
        x = x[:, :, 0]
    else:
        _set_aside(ended, total, words, options)
    return [
        [sentence for _, sentence in sorted(each, key=lambda pair: -pair[0])[: options.candidates]] for each in ended
    ]


def _rank(total: float, words: int, options: DecodeOptions) -> float:
    return total / float(max(words, 1) ** options.length_penalty)


def _set_aside(
    ended: list[list[tuple[float, tuple[int, ...]]]], total: Tensor, words: Tensor, options: DecodeOptions
) -> None:
    """Take all beginnings (N, K, T) with their log probabilities (N, K) as whole captions; keep the best few.

    −inf stands for none: a small vocabulary has fewer beginnings than are kept.
    """
    most = max(options.beam, options.candidates)
    length = words.shape[2] + 1
    for each, totals, rows in zip(ended, total.tolist(), words.tolist(), strict=True):
        possible = ((one, row) for one, row in zip(totals, rows, strict=True) if one != -math.inf)
        each += [(_rank(one, length, options), tuple(row)) for one, row in possible]
        each.sort(key=lambda pair: -pair[0])
        del each[most:]


def _settled(ended: list[list[tuple[float, tuple[int, ...]]]], best: Tensor, options: DecodeOptions) -> bool:
    """Whether no open beginning can still reach the wanted candidates; each word can only lower its probability."""
    for each, open_total in zip(ended, best.tolist(), strict=True):
        reachable = max(_rank(open_total, options.longest + 1, options), _rank(open_total, 1, options))
        if len(each) < options.candidates or each[options.candidates - 1][0] < reachable:
            return False
    return True


def _weigh(captioner: Reader, seen: Kept, sentences: list[tuple[int, ...]], options: DecodeOptions) -> list[Sentence]:
    """The probability of every word of the captions of one picture."""
    found = []
    for words in sentences:
        logs, _ = follow(captioner, seen, words, ended=len(words) < options.longest)
        found.append(Sentence(words, float(logs.sum()), tuple(np.exp(logs).tolist())))
    return found


@torch.no_grad()
def follow(
    captioner: Reader, seen: Kept, words: Sequence[int], *, ended: bool = True
) -> tuple[NDArray[np.float64], NDArray[np.float32] | None]:
    """One picture and a caption → log probability of each word (and of <END>), and where each looked (T, P)."""
    device = seen.first.device
    target = [*words, END] if ended else list(words)
    if not target:
        return np.zeros(0), None
    x, _, looked = captioner(seen, torch.tensor([START, *target[:-1]], device=device)[None, None])
    logs = torch.log_softmax(doubled(allowed(captioner.score(x[0, 0]))), -1)
    chosen = logs[torch.arange(len(target), device=logs.device), torch.tensor(target, device=logs.device)]
    return chosen.cpu().numpy(), None if looked is None else looked[0, 0].float().cpu().numpy()
