"""Captions of pictures through a real network, judged on a split, and drawn with where the captioner looked."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from captioners import CHANNELS, VOCABULARY, next_logs, some_features, tiny
from PIL import Image

from cvtool.bundled import asset_folder, find_asset
from cvtool.caption.checkpoint import BUNDLED, Checkpoint
from cvtool.caption.datasets import CaptionedPicture
from cvtool.caption.datasets.data import CaptionData
from cvtool.caption.decoder import Captioner
from cvtool.caption.decoding import decode
from cvtool.caption.evaluation import judge, source_for
from cvtool.caption.extractor import Extractor, compute_features
from cvtool.caption.features import Pca
from cvtool.caption.metrics import score_texts
from cvtool.caption.options import Cell, Decode, DecodeOptions, Engine, ModelOptions
from cvtool.caption.preparation import Source
from cvtool.caption.service import Describer, bundled_checkpoint, describe
from cvtool.caption.views import DARKEST, attention_sheet, lit
from cvtool.errors import BadInputError, UsageError
from cvtool.images import Picture, flatten, read_picture
from cvtool.models.loader import load

NETWORK = "efficientnet-lite0"
OPTIONS = DecodeOptions(beam=3, candidates=2, longest=5)


@pytest.fixture(scope="module")
def extractor() -> Extractor:
    return Extractor(load(NETWORK), fold=False)


@pytest.fixture(scope="module")
def checkpoint(extractor: Extractor) -> Checkpoint:
    """An untrained captioner with strong opinions on what the real network sees."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        options = ModelOptions(cell=Cell.lstm, attention=True, layers=1, hidden=16, embedding=12, dropout=0.0)
        captioner = Captioner(options, len(VOCABULARY), extractor.origin.channels).eval().requires_grad_(False)
        for parameter in captioner.parameters():
            parameter.mul_(3)
    return Checkpoint(captioner, VOCABULARY, NETWORK, extractor.origin.fingerprint, 8)


@pytest.fixture
def describer(checkpoint: Checkpoint, extractor: Extractor) -> Describer:
    return Describer(checkpoint, extractor)


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    """Three of different sizes and shapes, of a cat and of noise."""
    with Image.open(find_asset("cat").path) as picture:
        sizes = [picture.resize(size) for size in ((90, 60), (64, 64))]
    noise = np.random.default_rng(0).random((40, 80, 3), np.float32)
    return [*(np.asarray(each, np.float32) / 255 for each in sizes), noise]


def test_captions_are_read_out_of_the_networks_map(describer: Describer, pictures: list[np.ndarray]) -> None:
    """The same by hand: the map of the network, then the captioner on it."""
    found = describe(pictures, describer, OPTIONS)
    extractor, captioner = describer.extractor, describer.checkpoint.captioner
    for pixels, description in zip(pictures, found, strict=True):
        canvas = torch.from_numpy(extractor.canvas(Picture(pixels, None, 8, "x"))).permute(2, 0, 1)[None]
        with torch.no_grad():
            maps = extractor.maps(canvas)  # (1, C, 7, 7)
        features = maps.flatten(2).transpose(1, 2).half().float()
        ((best, second),) = decode(captioner, captioner.see_pictures(features), OPTIONS)
        texts = [" ".join(VOCABULARY.words[word] for word in each.words) for each in (best, second)]
        assert [each.caption for each in description.candidates] == texts
        assert description.best.log_probability == pytest.approx(best.log_probability, rel=1e-3)
        assert math.log(math.prod(description.best.probabilities)) == pytest.approx(best.log_probability, rel=1e-3)
        ended = len(best.words) < 5
        assert description.best.words == (*texts[0].split(), *(["<END>"] if ended else []))
        assert description.attention.shape == (len(best.words), 7, 7)
        np.testing.assert_allclose(description.attention.sum((1, 2)), 1, rtol=1e-5)
        with torch.no_grad():
            _, _, looked = captioner(captioner.see_pictures(features), torch.tensor([[[1, *best.words[:-1]]]]))
        np.testing.assert_allclose(description.attention.reshape(len(best.words), 49), looked[0, 0], atol=1e-4)
    assert len({each.best.caption for each in found}) > 1


def test_many_pictures_are_described_in_their_order(describer: Describer, pictures: list[np.ndarray]) -> None:
    many = [pictures[number % 3] for number in range(34)]  # more than words are found for at once
    heard = []
    found = describe(many, describer, OPTIONS, progress=heard.append)
    alone = [describe([pixels], describer, OPTIONS)[0] for pixels in pictures]
    assert [each.best.caption for each in found] == [alone[number % 3].best.caption for number in range(34)]
    assert [(step.done, step.total) for step in heard] == [(32, 34), (34, 34)]
    assert describe([], describer, OPTIONS) == []


def test_as_many_pictures_at_a_time_as_suit_the_device(
    describer: Describer, pictures: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    plain = Extractor.__call__

    def look(self: Extractor, canvases: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        sizes.append(len(canvases))
        return plain(self, canvases)

    monkeypatch.setattr(Extractor, "__call__", look)
    monkeypatch.setattr(Extractor, "batch", 5)
    describe([pictures[number % 3] for number in range(12)], describer, OPTIONS)
    assert sizes == [5, 5, 2]


@pytest.mark.parametrize("how", [Decode.greedy, Decode.beam, Decode.sample])
def test_numpy_gives_the_same_words(describer: Describer, pictures: list[np.ndarray], how: Decode) -> None:
    options = replace(OPTIONS, decode=how)
    one, other = (describe(pictures, describer, options, engine=engine) for engine in Engine)
    for each, again in zip(one, other, strict=True):
        assert [c.words for c in each.candidates] == [c.words for c in again.candidates]
        np.testing.assert_allclose(each.attention, again.attention, rtol=1e-3, atol=1e-6)


def test_a_prefix(describer: Describer, pictures: list[np.ndarray]) -> None:
    prefix = describer.prefix("The big, DOG!")
    assert [VOCABULARY.words[number] for number in prefix] == ["the", "big", "dog"]
    for each in describe(pictures, describer, replace(OPTIONS, prefix=prefix)):
        assert all(candidate.caption.startswith("the big dog") for candidate in each.candidates)
    assert describer.prefix("  ") == ()
    with pytest.raises(UsageError, match=r"does not know the word 'snowy'. Nearest: snow"):
        describer.prefix("the snowy dog")
    with pytest.raises(UsageError, match="A prefix of 3 words does not fit captions of 2"):
        describe(pictures, describer, replace(OPTIONS, prefix=prefix, longest=2))


def test_other_weights_are_refused(checkpoint: Checkpoint) -> None:
    assert Describer.of(checkpoint).device == torch.device("cpu")
    with pytest.raises(BadInputError, match=r"efficientnet-lite0.*000000000000.*Give its own by --weights"):
        Describer.of(replace(checkpoint, fingerprint="0" * 64))


def test_a_captioner_of_other_features_is_refused(checkpoint: Checkpoint) -> None:
    with pytest.raises(BadInputError, match=r"reads 6 features of a place, efficientnet-lite0 has 1280"):
        Describer.of(replace(checkpoint, captioner=tiny()))
    narrow = Pca(np.zeros(9, np.float32), np.zeros((1280, 9), np.float32))
    with pytest.raises(BadInputError, match=r"reads 9 features of a place"):
        Describer.of(replace(checkpoint, pca=narrow))


def data_of(folder: Path, names: dict[str, str]) -> CaptionData:
    """Name → split; each picture has a colour of its own."""
    found = []
    for number, (name, split) in enumerate(names.items()):
        Image.new("RGB", (32, 32), (80 * number % 256, 255 - 50 * number, 40)).save(folder / name)
        found.append(CaptionedPicture(name, folder / name, ("A dog runs.", "The big red cat!"), split))
    return CaptionData("folder:x", tuple(found), "0" * 64)


@pytest.fixture
def data(tmp_path: Path) -> CaptionData:
    return data_of(tmp_path, {"a.png": "test", "b.png": "train", "c.png": "test"})


def test_features_of_a_split(data: CaptionData, checkpoint: Checkpoint, extractor: Extractor, tmp_path: Path) -> None:
    """Computed now or kept in a file, they are the same; a file of another network is refused."""
    cpu = torch.device("cpu")
    computed = source_for(data, "test", checkpoint, None, device=cpu)
    assert sorted(computed.rows) == ["a.png", "c.png"]
    file = compute_features(data.pictures, extractor, tmp_path / "f.h5")
    kept = source_for(data, "test", checkpoint, file.path, device=cpu)
    for name in ("a.png", "c.png"):
        one, other = (each.features.read([each.rows[name]], False).astype(float) for each in (computed, kept))
        assert one.shape == (1, 49, extractor.origin.channels)
        np.testing.assert_allclose(one, other, atol=0.02, rtol=0.02)
    other = replace(checkpoint, fingerprint="0" * 64)
    with pytest.raises(BadInputError, match=r"f\.h5' has features of 'efficientnet-lite0'"):
        source_for(data, "test", other, file.path, device=cpu)
    with pytest.raises(BadInputError, match="other weights of efficientnet-lite0"):
        source_for(data, "test", other, None, device=cpu)
    with pytest.raises(BadInputError, match="The split 'dev' has no pictures"):
        source_for(data, "dev", checkpoint, None, device=cpu)


class Places:
    """Features of pictures by number."""

    channels, can_flip = CHANNELS, False

    def read(self, numbers: list[int], flipped: bool) -> np.ndarray:
        return some_features(3).numpy()[list(numbers)]


def test_a_judgement_by_hand(tmp_path: Path) -> None:
    data = data_of(tmp_path, {"a.png": "test", "b.png": "test", "c.png": "test"})
    pair = [Checkpoint(tiny(cell), VOCABULARY, "x", "f", 8) for cell in ("lstm", "gru")]
    source = Source(Places(), {"a.png": 0, "b.png": 1, "c.png": 2}, "x", "f")
    cpu, options = torch.device("cpu"), DecodeOptions(beam=3, longest=6)
    texts = [["a", "dog", "runs"], ["the", "big", "red", "cat"]]
    for checkpoints in (pair[:1], pair):
        found = judge(data, "test", checkpoints, source, options, device=cpu)
        loss = 0.0
        for features in some_features(3):
            for text in texts:
                said = VOCABULARY.encode(text, 8).tolist()[1:]
                for place, word in enumerate(said):
                    chances = [
                        np.exp(next_logs(each.captioner, features, said[:place], allowed=False)) for each in checkpoints
                    ]
                    loss -= math.log(np.mean(chances, axis=0)[word])
        assert found.loss == pytest.approx(loss / 6, rel=1e-5)
        assert found.perplexity == pytest.approx(math.exp(loss / (3 * (4 + 5))), rel=1e-5)
        known = {each.name: each.captions for each in data.pictures}
        assert found.metrics == score_texts(found.captions, known)
        assert list(found.captions) == ["a.png", "b.png", "c.png"]
    with pytest.raises(BadInputError, match="The split 'train' has no pictures to judge captions by"):
        judge(data, "train", pair[:1], source, options, device=cpu)


def test_what_was_not_looked_at_is_dark() -> None:
    pixels = np.full((70, 70, 3), 0.8, np.float32)
    look = np.zeros((7, 7), np.float32)
    look[1:4, 1:4] = 0.1
    found = lit(pixels, look)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[25, 25], 0.8, atol=1e-3)  # the middle of what was looked at
    np.testing.assert_allclose(found[60, 60], 0.8 * DARKEST, atol=1e-3)
    assert found.min() >= 0.8 * DARKEST - 1e-3


def test_a_sheet_has_a_picture_for_every_word() -> None:
    pixels = np.random.default_rng(0).random((30, 40, 3), np.float32)
    look = np.full((6, 2, 2), 0.25, np.float32)
    one, two = (attention_sheet(pixels, look[:words], ["word"] * words, 64) for words in (4, 6))
    assert one.shape[1] == two.shape[1]  # five beside each other
    assert two.shape[0] == 2 * one.shape[0]
    only = attention_sheet(pixels, look[:0], [], 64)
    assert only.shape[1] < one.shape[1] / 4
    with pytest.raises(ValueError, match="zip"):
        attention_sheet(pixels, look, ["too", "few"], 64)


@pytest.fixture(scope="module")
def bundled() -> Iterator[Describer]:
    if not (asset_folder() / BUNDLED).is_file():
        pytest.skip(f"the captioner is not bundled here: no {BUNDLED}")
    return Describer.of(bundled_checkpoint())


def test_folding_changes_the_time_only(bundled: Describer) -> None:
    pixels = flatten(read_picture(find_asset("cameraman").path))
    plain = Describer.of(bundled_checkpoint(), fold=False)
    assert plain.extractor._fast() is plain.extractor.model.module
    assert bundled.extractor._fast() is not bundled.extractor.model.module
    (one,), (other,) = (describe([pixels], each) for each in (bundled, plain))
    assert one.best.caption == other.best.caption
    assert one.best.log_probability == pytest.approx(other.best.log_probability, abs=0.01)


def test_the_bundled_captioner_sees_a_man_with_a_camera(bundled: Describer) -> None:
    (found,) = describe([flatten(read_picture(find_asset("cameraman").path))], bundled)
    assert {"man", "camera"} <= set(found.best.caption.split())
    assert (asset_folder() / BUNDLED).stat().st_size <= 25e6
