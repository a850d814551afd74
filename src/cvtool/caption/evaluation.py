"""Captions of a whole split, and how good they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from cvtool.caption.batches import Corpus, in_order, padded
from cvtool.caption.checkpoint import Checkpoint, extractor_of
from cvtool.caption.datasets import CaptionData
from cvtool.caption.decoding import Reader, decode
from cvtool.caption.ensemble import Ensemble
from cvtool.caption.extractor import compute_features
from cvtool.caption.features import FeatureFile, check_origin, read_features
from cvtool.caption.losses import log_probabilities
from cvtool.caption.metrics import Metrics, score
from cvtool.caption.options import DecodeOptions
from cvtool.caption.preparation import Source, check_split, corpus_of, source_of_course, source_of_file
from cvtool.caption.vocabulary import NULL, Vocabulary
from cvtool.errors import BadInputError
from cvtool.files import shown
from cvtool.progress import Progress, Step, silent
from cvtool.tensors import autocast

TOGETHER = 64
"""Pictures captioned at a time."""


@dataclass(frozen=True, eq=False)
class Judgement:
    """How good the captions of a split are.

    Attributes:
        metrics: of the captions.
        captions: name → caption.
        loss: −log probability of people's captions, summed over words, mean over captions (the notes' loss).
        perplexity: of a word of theirs.
    """

    metrics: Metrics
    captions: Mapping[str, str]
    loss: float
    perplexity: float


def source_for(
    data: CaptionData,
    split: str,
    checkpoint: Checkpoint,
    file: Path | None,
    *,
    device: torch.device,
    weights: Path | None = None,
    precision: str = "auto",
    progress: Progress = silent,
) -> Source:
    """Features of a split that a captioner can read: the data set's own, from `file`, or computed now.

    Raises:
        BadInputError: the split is empty, or they are of another network than the captioner's.
    """
    check_split(data.split(split), split, "judge captions by")
    attention = checkpoint.captioner.options.attention
    if data.features is not None:
        source = source_of_course(data.features)
        if source.fingerprint != checkpoint.features_fingerprint:
            raise BadInputError(f"This captioner reads features of {checkpoint.model}, not those of '{data.spec}'.")
        return source
    if file is not None:
        return source_of_file(_features_for(checkpoint, file), checkpoint.pca, attention=attention)
    extractor = extractor_of(checkpoint, device=device, weights=weights, precision=precision)
    with TemporaryDirectory(prefix="cvtool-") as folder:
        found = compute_features(data.split(split), extractor, Path(folder) / "features.h5", progress=progress)
        source = source_of_file(found, checkpoint.pca, attention=attention)
        source.features.read([0], False)  # maps the file, which stays readable after its name is gone
        return source


def _features_for(checkpoint: Checkpoint, path: Path) -> FeatureFile:
    found = read_features(path)
    if checkpoint.network and found.origin.fingerprint == checkpoint.fingerprint:
        raise BadInputError(
            f"'{shown(path)}' has features of {checkpoint.model} as published, but this captioner's network was "
            "fine-tuned. Leave it out, or make one by 'cvtool caption features --checkpoint'."
        )
    check_origin(path, found.origin, checkpoint.features_fingerprint)
    return found


def judge(
    data: CaptionData,
    split: str,
    checkpoints: Sequence[Checkpoint],
    source: Source,
    options: DecodeOptions,
    *,
    device: torch.device,
    progress: Progress = silent,
) -> Judgement:
    """Caption a split and compare with what people say; several captioners are asked together.

    Raises:
        BadInputError: the split is empty, or a picture has no features.
    """
    vocabulary = checkpoints[0].vocabulary
    pictures = data.split(split)
    check_split(pictures, split, "judge captions by")
    corpus = corpus_of(pictures, source, vocabulary, checkpoints[0].longest)
    captioners = [checkpoint.captioner.to(device).eval() for checkpoint in checkpoints]
    reader: Reader = captioners[0] if len(captioners) == 1 else Ensemble(captioners)
    found, loss, words = captions_and_loss(reader, corpus, options, device, "fp32", progress)
    metrics = metrics_of(found, corpus, vocabulary)
    captions = sum(len(each) for each in corpus.captions)
    return Judgement(metrics, texts_of(found, corpus, vocabulary), loss / captions, perplexity(loss, words))


@torch.no_grad()
def captions_and_loss(
    reader: Reader,
    corpus: Corpus,
    options: DecodeOptions,
    device: torch.device,
    precision: str = "auto",
    progress: Progress = silent,
) -> tuple[list[tuple[int, ...]], float, int]:
    """The best caption of every picture, as numbers; and how likely people's captions are.

    The loss is −log probability of these, the words before each given, summed; then comes the number of their words.
    Words that the vocabulary lacks count as <UNK>. Features are read once: they may be computed when they are.
    """
    found: list[tuple[int, ...]] = []
    total, words = 0.0, 0
    for numbers in in_order(corpus, TOGETHER):
        features = torch.from_numpy(corpus.features.read([corpus.rows[number] for number in numbers], False))
        captions = torch.from_numpy(padded([corpus.captions[number] for number in numbers])).to(device)
        with autocast(device, precision):
            seen = reader.see_pictures(features.to(device).float())
            found += [sentences[0].words for sentences in decode(reader, seen, options)]
            x, _, _ = reader(seen, captions[..., :-1])
            logs = log_probabilities(reader.score(x), captions[..., 1:])
        total -= float(logs.sum())
        words += int((captions[..., 1:] != NULL).sum())
        progress(Step("describe", len(found), len(corpus)))
    return found, total, words


def metrics_of(captions: Sequence[tuple[int, ...]], corpus: Corpus, vocabulary: Vocabulary) -> Metrics:
    """Metrics of one caption for each picture of a corpus."""
    hypotheses = {
        name: [vocabulary.words[word] for word in words] for name, words in zip(corpus.names, captions, strict=True)
    }
    return score(hypotheses, dict(zip(corpus.names, corpus.references, strict=True)))


def texts_of(captions: Sequence[tuple[int, ...]], corpus: Corpus, vocabulary: Vocabulary) -> dict[str, str]:
    """One caption for each picture of a corpus, in words, by the picture's name."""
    return {name: vocabulary.decode(words) for name, words in zip(corpus.names, captions, strict=True)}


def perplexity(loss: float, words: int) -> float:
    """e to the mean loss of a word; infinite where no float can say it."""
    return math.inf if loss / words > 700 else math.exp(loss / words)
