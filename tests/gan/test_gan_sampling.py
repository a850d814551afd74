"""Sampling, walking, inverting, judging and exporting: each against what is known beforehand."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import kstest, truncnorm

from cvtool.errors import BadInputError, CvtoolError, UnknownNameError, UsageError
from cvtool.gan import export as exporting
from cvtool.gan import judging
from cvtool.gan.checkpoint import Checkpoint
from cvtool.gan.datasets.data import Pictures
from cvtool.gan.export import Kind, export, kind_of
from cvtool.gan.feeding import to_pixels
from cvtool.gan.interpolation import slerp, walk
from cvtool.gan.inversion import fitted, invert
from cvtool.gan.judging import judge
from cvtool.gan.labels import label_number, label_numbers
from cvtool.gan.networks import Generator, Shape, build
from cvtool.gan.options import Arch, NetworkOptions
from cvtool.gan.sampling import CHUNK, Sampler, class_weights, decode_latents, encode_latents, latents, sample
from cvtool.gan.use_options import InvertOptions, JudgeOptions

NAMES = ("T-shirt", "ankle boot", "bag, leather", "7")


def generator(arch: str = "dcgan", size: int = 16, channels: int = 1, classes: int = 4, latent: int = 16) -> Generator:
    torch.manual_seed(0)
    found, _ = build(NetworkOptions(arch=Arch(arch), width=4, latent=latent), Shape(size, channels, classes))
    noise, labels = found.noise(64, torch.Generator().manual_seed(0)), torch.arange(64) % max(classes, 1)
    found.train()
    for _ in range(30):  # running statistics, without which untrained pictures are all grey
        found(noise, labels if classes else None)
    return found.eval().requires_grad_(False)


ARCHITECTURES = [("dcgan", 16, 1, 4), ("mlp", 9, 3, 0), ("resnet", 13, 3, 4), ("cs231n-dc", 28, 1, 0)]


@pytest.mark.parametrize("given", ARCHITECTURES, ids=lambda given: given[0])
def test_a_picture_is_the_same_however_many_are_made(given: tuple[str, int, int, int]) -> None:
    network = generator(*given)
    seeds = range(CHUNK + 7)
    labels = torch.arange(len(seeds)) % 4 if given[3] else None
    together = sample(network, latents(network, seeds), labels)
    assert together.shape == (len(seeds), given[1], given[1], given[2])
    assert together.std() > 1  # else the test would show nothing
    backwards = sample(network, latents(network, seeds[::-1]), None if labels is None else labels.flip(0))
    assert np.array_equal(backwards[::-1], together)
    for seed in (0, 5, CHUNK, CHUNK + 6):
        alone = sample(network, latents(network, [seed]), None if labels is None else labels[seed : seed + 1])
        assert np.array_equal(alone[0], together[seed])
    z = latents(network, seeds)
    with torch.no_grad():
        plain = to_pixels(network(z, labels))
    assert np.abs(plain.astype(int) - together).max() <= 1


def test_numbers_and_weights_of_classes_are_one() -> None:
    network = generator()
    z, numbers = latents(network, range(5)), torch.tensor([0, 1, 2, 3, 1])
    assert np.array_equal(sample(network, z, numbers), sample(network, z, class_weights(numbers, 4)))
    assert class_weights([2, 0], 3).tolist() == [[0, 0, 1], [1, 0, 0]]


def test_sampling_stops_between_chunks() -> None:
    network = generator(classes=0)
    asked = iter([False, True])
    assert len(Sampler(network)(latents(network, range(3 * CHUNK)), stop=lambda: next(asked))) == CHUNK
    assert sample(network, latents(network, [])).shape == (0, 16, 16, 1)


def test_truncated_noise_is_the_truncated_normal() -> None:
    network = generator(latent=64)
    seeds = range(150)
    free, bound = latents(network, seeds), latents(network, seeds, 0.7)
    assert bound.abs().max() <= 0.7
    inside = free.abs() <= 0.7
    assert torch.equal(bound[inside], free[inside])  # only what is beyond is drawn again
    assert kstest(bound.flatten().numpy(), truncnorm(-0.7, 0.7).cdf).pvalue > 0.01
    assert kstest(free.flatten().numpy(), "norm").pvalue > 0.01
    even = generator("cs231n-mlp", 28, latent=64)
    assert kstest(latents(even, seeds, 0.5).flatten().numpy(), "uniform", args=(-0.5, 1)).pvalue > 0.01
    for wrong in (0, -1, 0.01, math.nan):
        with pytest.raises(UsageError, match="--truncation"):
            latents(network, seeds, wrong)


def test_arcs() -> None:
    one, other = torch.tensor([1.0, 0, 0]), torch.tensor([0, 2.0, 0])
    third = slerp(one, other, 1 / 3)[0]
    length = 4 / 3  # from 1 to 2
    expected = [length * math.cos(math.pi / 6), length * math.sin(math.pi / 6), 0]
    assert third.tolist() == pytest.approx(expected, abs=1e-6)
    shares = torch.linspace(0, 1, 9)
    arc = slerp(one, one + other, shares)
    angles = torch.nn.functional.cosine_similarity(arc[1:], arc[:-1]).acos()
    assert angles.numpy() == pytest.approx(math.atan(2) / 8, rel=1e-3)
    for a, b in ((one, one), (one, -one), (one, 0 * one), (one, 3 * one)):
        assert torch.allclose(slerp(a, b, shares), a + shares[:, None] * (b - a), atol=1e-6)


@pytest.mark.parametrize(("frames", "loop"), [(13, False), (12, True), (4, False), (11, True), (200, False)])
def test_walks_meet_every_stop(frames: int, loop: bool) -> None:
    network = generator()
    stops, labels = latents(network, [3, 1, 4, 15]), class_weights([0, 1, 1, 3], 4)
    found = walk(network, stops, labels, frames=frames, loop=loop)
    assert found.labels is not None
    assert len(found.z) == len(found.labels) == len(found.legs) == frames
    assert torch.allclose(found.labels.sum(1), torch.ones(frames))
    first_of = [found.legs.index(leg) for leg in range(4 if loop else 3)]
    meets = [*first_of, *([] if loop else [frames - 1])]
    assert torch.allclose(found.z[meets], stops, atol=1e-6)
    assert torch.allclose(found.labels[meets], labels, atol=1e-6)
    sizes = np.bincount(found.legs) - np.array([0] * (len(first_of) - 1) + [int(not loop)])
    assert np.ptp(sizes) <= 1
    if loop:  # the seam is a step like any other
        steps = torch.nn.functional.cosine_similarity(found.z, found.z.roll(-1, 0)).acos()
        assert steps[-1] == pytest.approx(float(steps[-2]), rel=0.01)


def test_even_noise_is_walked_straight() -> None:
    network = generator("cs231n-mlp", 28, classes=0)
    stops = latents(network, [0, 1])
    assert torch.allclose(walk(network, stops, frames=3).z[1], stops.mean(0))


def test_walks_that_cannot_be() -> None:
    network = generator()
    with pytest.raises(UsageError, match="two"):
        walk(network, latents(network, [1]), frames=5)
    with pytest.raises(UsageError, match="4 or more"):
        walk(network, latents(network, range(4)), frames=3)


def test_latents_in_files() -> None:
    network = generator()
    z, weights = latents(network, range(3)), class_weights([0, 2, 1], 4)
    again, back = decode_latents(encode_latents(z, weights), network, "f")
    assert back is not None
    assert torch.equal(again, z)
    assert torch.equal(back, weights)
    again, nothing = decode_latents(encode_latents(z[0], None), network, "f")
    assert nothing is None
    assert torch.equal(again, z[:1])


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def claiming(shape: str) -> bytes:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


BROKEN = {
    "nothing": b"",
    "text": b"hello",
    "cut": npy(np.zeros((9, 16)))[:-8],
    "objects": npy(np.array([{}, None], dtype=object)),
    "words": npy(np.array(["a"])),
    "other": npy(np.zeros((3, 17))),
    "deep": npy(np.zeros((3, 2, 16))),
    "none": npy(np.zeros((0, 16))),
    "nan": npy(np.full((1, 16), np.nan)),
    "huge": claiming("(99999999999, 16)"),
    "negative": claiming("(-1, 16)"),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_broken_latents(data: bytes) -> None:
    with pytest.raises(BadInputError, match=r"'noise\.npy'"):
        decode_latents(data, generator(), "noise.npy")


def test_names_of_classes() -> None:
    assert [label_number(text, NAMES) for text in ("t shirt", "Ankle_Boot", "2", "7")] == [0, 1, 2, 3]
    assert label_numbers(["bag, leather", "0,ankle-boot"], NAMES) == (2, 0, 1)
    with pytest.raises(UnknownNameError, match="Nearest: ankle boot"):
        label_number("ankle bot", NAMES)
    with pytest.raises(UsageError, match="4"):
        label_number("4", NAMES)
    for text in ("-1", "9" * 5000):
        with pytest.raises(UsageError, match="No class"):
            label_number(text, NAMES)
    with pytest.raises(UsageError, match="several"):
        label_number("A", ("a", "a ", "b"))
    with pytest.raises(UsageError, match="no classes"):
        label_numbers(["x"], ())


@pytest.mark.parametrize("given", [("dcgan", 16, 1, 4), ("cs231n-mlp", 28, 1, 0)], ids=["normal", "even"])
def test_what_a_generator_made_is_found_again(given: tuple[str, int, int, int]) -> None:
    network = generator(*given, latent=6)
    made = sample(network, latents(network, [12345]), torch.tensor([2]) if given[3] else None)[0]
    found = invert(made, network, InvertOptions(starts=24, steps=150, prior=0))
    other = sample(network, latents(network, range(200)), torch.arange(200) % 4 if given[3] else None)
    nearest = np.square(other.astype(float) - made).mean((1, 2, 3)).min()
    assert found.psnr > 30
    assert found.psnr > 10 * math.log10(255**2 / nearest) + 8  # far beyond luck
    assert found.ssim > 0.95
    assert found.steps == 300
    assert found.stopped_by == "steps"
    weights = None if found.weights is None else found.weights[None]
    assert np.array_equal(sample(network, found.z[None], weights)[0], found.found)
    if given[3]:
        assert int(found.weights.argmax()) == 2
    else:
        assert found.z.abs().max() <= 1


def test_inversion_keeps_to_a_label_and_stops() -> None:
    network = generator(latent=6)
    made = sample(network, latents(network, [1]), torch.tensor([2]))[0]
    found = invert(made, network, InvertOptions(starts=4, survivors=2, steps=9), label=1, stop=lambda: True)
    assert found.weights.tolist() == [0, 1, 0, 0]
    assert (found.steps, found.stopped_by) == (1, "interrupt")
    with pytest.raises(UsageError, match="not one of this generator"):
        invert(made[:8], network)
    with pytest.raises(UsageError, match="classes"):
        invert(made, network, label=4)


def test_pictures_are_fitted() -> None:
    wide = np.zeros((10, 30, 3), np.float32)
    wide[:, 10:20] = (1, 0, 0)
    assert np.array_equal(fitted(wide, 10, 3)[0, 0], [255, 0, 0])
    assert np.unique(fitted(wide, 10, 1)).tolist() == [76]  # .299 of 255
    assert fitted(wide, 7, 1).shape == (7, 7, 1)


class Mean:
    """Stands in for the network: what it sees in a picture is its rows."""

    name, device = "rows", torch.device("cpu")

    def features(self, pictures: np.ndarray, *, progress: object = None) -> np.ndarray:
        return pictures.astype(np.float32).mean((2, 3)) / 255


def test_a_generator_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    network = generator()
    checkpoint = Checkpoint(network, NetworkOptions(), NAMES)
    labels = np.arange(400) % 4
    own = sample(network, latents(network, range(1000, 1400)), torch.from_numpy(labels))
    data = Pictures.of(own, labels, NAMES)
    options = JudgeOptions(samples=100, neighbours=3, shown=4)
    found = judge(checkpoint, data, None, Mean(), options)  # type: ignore[arg-type]
    assert found.real is not None
    assert found.real_from == "train"
    assert found.found.samples == found.found.reference == found.real.samples == 100
    # Pictures of the generator itself are as good as "real" ones; others are not.
    assert found.found.fd < 3 * found.real.fd
    other = judge(checkpoint, Pictures.of(255 - own // 2, labels, NAMES), None, Mean(), options)  # type: ignore[arg-type]
    assert other.found.fd > 10 * found.found.fd
    assert found.nearest.shape == (4, 3, 16, 16, 1)
    test = judge(checkpoint, data, Pictures.of(own[:50]), Mean(), options)  # type: ignore[arg-type]
    assert test.real is not None
    assert (test.real_from, test.real.samples) == ("test", 50)
    halves = judge(checkpoint, data, None, Mean(), replace(options, samples=300))  # type: ignore[arg-type]
    assert halves.real is not None
    assert (halves.found.reference, halves.real.samples) == (200, 200)
    with pytest.raises(BadInputError, match="do not compare"):
        judge(checkpoint, Pictures.of(own[:, :8, :8]), None, Mean(), options)  # type: ignore[arg-type]
    few, test_set = Pictures.of(own[:19]), Pictures.of(own[:50])
    with pytest.raises(BadInputError, match=r"^19 pictures are too few .* half of them .* at least 20\.$"):
        judge(checkpoint, few, None, Mean(), options)  # type: ignore[arg-type]
    assert judge(checkpoint, few, test_set, Mean(), options).found is not None  # type: ignore[arg-type]
    with pytest.raises(BadInputError, match=r"^9 pictures are too few to be judged by\. Give at least 10\.$"):
        judge(checkpoint, Pictures.of(own[:9]), test_set, Mean(), options)  # type: ignore[arg-type]


def test_labels_are_as_often_as_in_the_data() -> None:
    checkpoint = Checkpoint(generator(), NetworkOptions(), NAMES)
    pixels = np.zeros((8, 16, 16, 1), np.uint8)
    options = JudgeOptions(samples=500)
    mostly = judging._labels(checkpoint, Pictures.of(pixels, np.array([1] * 7 + [3]), NAMES), options)
    assert np.bincount(mostly, minlength=4)[[0, 2]].tolist() == [0, 0]
    assert np.bincount(mostly)[1] == pytest.approx(437, abs=30)
    strange = judging._labels(checkpoint, Pictures.of(pixels), options)
    assert np.bincount(strange).tolist() == [125] * 4


@pytest.mark.filterwarnings("ignore:`torch.jit.load` is deprecated")
@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("classes", [0, 4])
def test_exported_files_make_the_same_pictures(kind: Kind, classes: int) -> None:
    if kind is Kind.onnx:
        pytest.importorskip("onnxscript")
        pytest.importorskip("torch", minversion="2.8")
    network = generator(classes=classes)
    checkpoint = Checkpoint(network, NetworkOptions(), NAMES[:classes])
    found = export(checkpoint, kind, "a note")
    assert found.difference < 1e-5
    z, labels = latents(network, range(9)), torch.arange(9) % 4
    expected = network(z, labels if classes else None)
    if kind is Kind.torchscript:
        facts = {"classes": "", "cvtool": ""}
        module = torch.jit.load(io.BytesIO(found.data), _extra_files=facts)
        made = module(z, labels) if classes else module(z)
        facts = {name: value.decode() for name, value in facts.items()}
    else:
        import onnx
        from onnx.reference import ReferenceEvaluator

        model = onnx.load_from_string(found.data)
        onnx.checker.check_model(model)
        given = {"z": z.numpy(), **({"label": labels.numpy()} if classes else {})}
        made = torch.from_numpy(ReferenceEvaluator(model).run(None, given)[0])
        facts = {each.key: each.value for each in model.metadata_props}
    assert torch.allclose(made, expected, atol=1e-5)
    assert facts["cvtool"] == "a note"
    assert json.loads(facts["classes"]) == list(NAMES[:classes])


def test_a_file_that_makes_other_pictures_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "_run_torchscript", lambda data, names: (lambda inputs: torch.zeros(1), "torch"))
    with pytest.raises(CvtoolError, match="differ by"):
        export(Checkpoint(generator(classes=0), NetworkOptions()), Kind.torchscript)


def test_kinds_of_files(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kind_of(tmp_path / "a.PT") is Kind.torchscript
    with pytest.raises(UsageError, match=r"\.onnx"):
        kind_of(tmp_path / "a.bin")
    monkeypatch.setattr(exporting, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="pip install onnx onnxscript"):
        kind_of(tmp_path / "a.onnx")
