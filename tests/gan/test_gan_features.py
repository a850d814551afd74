"""What the judge sees in pictures, and whether it tells worse ones from better ones."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from cvtool.errors import BadInputError, UnknownNameError, UsageError
from cvtool.gan.evaluation import Judge
from cvtool.gan.features import FeatureModel, default_features, feature_model
from cvtool.gan.metrics import frechet_distance, kernel_distance, moments
from cvtool.models.loader import load

FASHION = Path("/usr/share/datasets/fashion-mnist")
RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (70, 28, 28, 1), dtype=np.uint8)
SIZE = 48


@pytest.fixture(scope="module")
def model():
    return feature_model(f"efficientnet-lite0@{SIZE}")


@pytest.fixture(scope="module")
def fashion():
    """Pictures (60000, 28, 28, 1) and labels."""
    if not FASHION.is_dir():
        pytest.skip("no Fashion-MNIST; apt-get install dataset-fashion-mnist")
    pixels = gzip.decompress((FASHION / "train-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((FASHION / "train-labels-idx1-ubyte.gz").read_bytes())
    return np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, 28, 28, 1), np.frombuffer(labels, np.uint8, offset=8)


# --- Features


def test_features_are_what_the_classifier_reads(model):
    # Pictures of the network's own size are not resized; its logits are a linear function of the features.
    pictures = RNG.integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)
    network = load("efficientnet-lite0")
    x = network.normalize(torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255)
    with torch.no_grad():
        expected = network.module(x)
        found = network.module.classifier(torch.from_numpy(model.features(pictures)))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_features_have_one_row_for_each_picture(model):
    found = model.features(GREY)
    assert found.shape == (70, model.dimensions) == (70, 1280)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()


def test_features_do_not_depend_on_the_batch(model):
    whole = model.features(GREY)  # a full batch and a rest
    single = np.concatenate([model.features(GREY[i : i + 1]) for i in (0, 63, 64, 69)])
    np.testing.assert_allclose(single, whole[[0, 63, 64, 69]], rtol=1e-3, atol=1e-3)


def test_grey_is_rgb_with_equal_channels(model):
    np.testing.assert_allclose(model.features(GREY[:5]), model.features(GREY[:5].repeat(3, 3)), rtol=1e-4, atol=1e-4)


def test_memory_mapped_pictures_are_read(model, tmp_path):
    np.save(tmp_path / "pictures.npy", GREY)
    mapped = np.load(tmp_path / "pictures.npy", mmap_mode="r")
    np.testing.assert_array_equal(model.features(mapped), model.features(GREY))


def test_large_pictures_are_averaged_not_sampled(model):
    # A checkerboard finer than the input is grey; taking every n-th pixel would make it black or white.
    board = (np.indices((192, 192)).sum(0) % 2 * 255).astype(np.uint8)[None, :, :, None]
    middle, black, white = (np.full((1, 192, 192, 1), level, np.uint8) for level in (127, 0, 255))
    found = model.features(board)
    to_middle = np.linalg.norm(found - model.features(middle))
    assert to_middle < 0.2 * np.linalg.norm(found - model.features(black))
    assert to_middle < 0.2 * np.linalg.norm(found - model.features(white))


def test_progress_counts_pictures(model):
    steps = []
    model.features(GREY, progress=steps.append)
    assert [(step.done, step.total) for step in steps] == [(64, 70), (70, 70)]


@pytest.mark.parametrize(
    "pictures",
    [np.zeros((2, 8, 8), np.uint8), np.zeros((2, 8, 8, 2), np.uint8), np.zeros((2, 8, 8, 1)), GREY[:0]],
    ids=["no channels", "two channels", "float", "none"],
)
def test_what_are_no_pictures_is_refused(model, pictures):
    with pytest.raises(BadInputError, match="uint8"):
        model.features(pictures)


def test_names_say_all_that_moves_the_numbers():
    network = load("efficientnet-lite0")
    assert FeatureModel(network, 64).name == "efficientnet-lite0@64"
    assert FeatureModel(network, 64, precision="bf16").name == "efficientnet-lite0@64/bfloat16"
    assert feature_model("efficientnet-lite0").name == "efficientnet-lite0@224"


def test_default_features_keep_the_detail_of_pictures():
    assert default_features(28) == default_features(48) == "efficientnet-lite0@48"
    assert default_features(64) == "efficientnet-lite0@64"
    assert default_features(65) == "efficientnet-lite0@80"
    assert default_features(512) == "efficientnet-lite0@128"


@pytest.mark.parametrize("spec", ["efficientnet-lite0@", "efficientnet-lite0@big", "@48", "efficientnet-lite0@5", ""])
def test_wrong_specs_are_refused(spec):
    with pytest.raises(UsageError):
        feature_model(spec)


def test_an_unknown_network_is_refused():
    with pytest.raises(UnknownNameError, match="efficientnet-lite0"):
        feature_model("efficientnet-lite9@48")


# --- Judge


class Pixels:
    """Pixels as features: quick, and distances are known."""

    name = "pixels"
    device = torch.device("cpu")

    def features(self, pictures, *, progress=None):
        return pictures.reshape(len(pictures), -1).astype(np.float32) / 255


def plain(count, seed, level=128):
    values = np.random.default_rng(seed).normal(level, 30, (count, 2, 2, 1))
    return np.clip(values, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def judge():
    return Judge(plain(300, 0), Pixels())


def test_the_judge_says_what_the_metrics_say(judge):
    samples = plain(200, 1, 150)
    found = judge.evaluate(samples)
    real, fake = (torch.from_numpy(Pixels().features(x)) for x in (plain(300, 0), samples))
    assert found.fd == pytest.approx(frechet_distance(moments(real), moments(fake)), rel=1e-6)
    assert found.kd == pytest.approx(kernel_distance(real, fake), rel=1e-4)
    assert (found.samples, found.reference, found.feature_model) == (200, 300, "pixels")
    assert found.fd_low <= found.fd <= found.fd_high
    assert found.kd_low <= found.kd <= found.kd_high
    assert found == judge.evaluate(samples)  # the bootstrap is seeded


def test_facts_are_plain_numbers(judge):
    facts = judge.evaluate(plain(20, 1)).facts()
    assert {"fd", "kd", "precision", "recall", "density", "coverage", "feature_model", "samples"} <= set(facts)
    assert all(type(value) in (float, int, str) for value in facts.values())


def test_the_judge_finds_the_nearest_picture(judge):
    indices, distances = judge.nearest(plain(300, 0)[[7, 200]], count=2)
    assert indices[:, 0].tolist() == [7, 200]
    assert distances.shape == (2, 2)
    assert (distances[:, 0] < 1e-2).all()


def test_too_few_pictures_are_refused(judge):
    with pytest.raises(BadInputError, match="9 pictures"):
        judge.evaluate(plain(9, 0))
    with pytest.raises(BadInputError, match="9 pictures"):
        Judge(plain(9, 0), Pixels())


def test_worse_garments_are_farther_away(model, fashion):
    pixels, labels = fashion
    order = np.random.default_rng(0).permutation(len(pixels))
    reference, rest = pixels[order[:300]], order[300:]
    held = pixels[rest[:300]]
    judge = Judge(reference, model)

    def blurred(sigma):
        return np.rint(gaussian_filter(held.astype(np.float32), (0, sigma, sigma, 0))).astype(np.uint8)

    noisy = np.clip(held + np.random.default_rng(1).normal(0, 20, held.shape), 0, 255).astype(np.uint8)
    mixed = ((held.astype(int) + held[::-1]) // 2).astype(np.uint8)
    half_the_classes = pixels[[i for i in rest[:2000] if labels[i] < 5][:300]]
    collapsed = held[np.arange(300) % 5]

    real, copies = judge.evaluate(held), judge.evaluate(reference)
    slightly, strongly = judge.evaluate(blurred(0.8)), judge.evaluate(blurred(1.5))
    halved, few = judge.evaluate(half_the_classes), judge.evaluate(collapsed)
    assert abs(real.kd) < 0.02 * strongly.kd
    assert 1.3 * real.fd < slightly.fd < 0.7 * strongly.fd
    for worse in (judge.evaluate(noisy), judge.evaluate(mixed), halved, few):
        assert worse.fd_low > 1.2 * real.fd_high
        assert worse.kd_low > real.kd_high
    assert halved.coverage < 0.8 * real.coverage
    assert few.recall < 0.2 * real.recall
    assert copies.nearest < 0.05 < 0.9 < real.nearest < 1.1
