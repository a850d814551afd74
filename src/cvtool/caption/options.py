"""What captioning can be told, with every default in one place. No torch here: the command line reads this."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

TOGETHER = 32
"""Pictures that are read, and that words are found for, at a time."""


class Cell(str, Enum):
    """What remembers from word to word."""

    rnn = "rnn"
    lstm = "lstm"
    gru = "gru"


class Decode(str, Enum):
    """How words are chosen."""

    greedy = "greedy"
    beam = "beam"
    sample = "sample"


class Engine(str, Enum):
    """Which code runs the recurrent part."""

    torch = "torch"
    numpy = "numpy"


@dataclass(frozen=True)
class ModelOptions:
    """The shape of a captioner.

    Attributes:
        cell: of the recurrent layers.
        attention: look at places of the picture before every word; else the picture only sets the first state.
        layers: recurrent layers; with attention, those above the first read what was looked at.
        hidden: width of the recurrent layers.
        embedding: width of the word vectors.
        dropout: share of word vectors, features and outputs that is left out in training.
        tie: the word vectors are also the weights of the last layer (Press & Wolf 2017, arXiv:1608.05859).
    """

    cell: Cell = Cell.lstm
    attention: bool = True
    layers: int = 1
    hidden: int = 512
    embedding: int = 384
    dropout: float = 0.5
    tie: bool = True


@dataclass(frozen=True)
class TrainOptions:
    """How a captioner is trained.

    Attributes:
        epochs: passes over the training split.
        batch: pictures a step; each comes with all its captions.
        rate: Adam's learning rate after the warm-up; it falls to a tenth along half a cosine.
        warmup: steps in which the rate grows, at the start of either kind of training.
        decay: weight decay (AdamW).
        smoothing: label smoothing.
        scheduled: share of words that are the network's own instead of the caption's in the last epoch; grows evenly.
        clip: largest norm of the gradient.
        threshold: words seen less often become <UNK>.
        longest: captions are cut to so many words.
        average: epochs whose last weights are averaged before they are judged and kept; training goes on with its own.
        patience: epochs without a better CIDEr-D on the development split before `scst` begins, which has none.
        scst: epochs of self-critical training on CIDEr-D after those.
        scst_rate: learning rate of the self-critical epochs.
        scst_temperature: of the distribution that captions are drawn from and that learns from them.
        scst_anchor: weight of the loss of people's captions beside the reward.
        scst_samples: captions drawn for each picture, two at least; each is compared with the mean of the others.
        finetune: also train the network that sees, from the pictures themselves.
        finetune_from: the first layer of it that is trained, so that what comes before is computed once; "": all are.
        finetune_rate: its learning rate, which follows the same curve; in the self-critical epochs at most theirs.
        seed: of everything random.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
    """

    epochs: int = 12
    batch: int = 32
    rate: float = 1e-3
    warmup: int = 200
    decay: float = 0.01
    smoothing: float = 0.1
    scheduled: float = 0.0
    clip: float = 5.0
    threshold: int = 5
    longest: int = 20
    average: int = 1
    patience: int = 5
    scst: int = 0
    scst_rate: float = 1e-4
    scst_temperature: float = 1.0
    scst_anchor: float = 0.05
    scst_samples: int = 5
    finetune: bool = False
    finetune_from: str = ""
    finetune_rate: float = 2e-5
    seed: int = 0
    precision: str = "auto"


@dataclass(frozen=True)
class DecodeOptions:
    """How captions are read out of a captioner.

    Attributes:
        decode: greedy takes the likeliest next word, beam keeps several beginnings, sample draws.
        beam: beginnings kept.
        length_penalty: candidates are ranked by log probability / words ** this.
        temperature: of sampling; logits are divided by it.
        top_k: sample from the k likeliest words only; 0 from all.
        top_p: sample from the likeliest words that share this probability.
        candidates: captions a picture, best first.
        longest: words at most.
        prefix: words that every caption begins with.
        seed: of sampling.
    """

    decode: Decode = Decode.beam
    beam: int = 5
    length_penalty: float = 0.7
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    candidates: int = 1
    longest: int = 20
    prefix: tuple[int, ...] = ()
    seed: int = 0
