"""Fine-tuning: gradients reach the network, what must stay stays, it goes on to the same end, and is used."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from captioners import VOCABULARY, sentences
from PIL import Image
from torch import Tensor, nn

from cvtool.caption.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from cvtool.caption.datasets import CaptionedPicture
from cvtool.caption.decoder import Captioner
from cvtool.caption.extractor import Extractor, compute_features, tuned_fingerprint
from cvtool.caption.features import Pca
from cvtool.caption.finetuning import FineTuner, Sight
from cvtool.caption.halfway import Halfway, HalfwaySight
from cvtool.caption.options import ModelOptions, TrainOptions
from cvtool.caption.pictures import KeptRows, framed_pictures, halfway_maps, has_kept_rows, remove_kept_rows
from cvtool.caption.preparation import Source, corpus_of
from cvtool.distributed import Share
from cvtool.errors import BadInputError, CvtoolError, UnknownNameError, UsageError
from cvtool.images import read_picture
from cvtool.models.cards import CARDS
from cvtool.models.loader import Model, load
from cvtool.progress import Step

SIDE = 16
OPTIONS = TrainOptions(
    epochs=2, batch=4, rate=1e-2, warmup=2, longest=8, smoothing=0.0, finetune=True, finetune_rate=2e-3
)
VARIANTS = {
    "words": OPTIONS,
    "self-critical": replace(OPTIONS, epochs=1, scst=1, scst_rate=1e-3, scst_samples=3),
}


class Small(nn.Module):
    """Two convolutions with batch norms, a map of 4 × 4 places, and a classifier that features do not need."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 6, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8)
        self.act = nn.ReLU()
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn2(self.conv2(torch.tanh(self.bn1(self.conv1(x)))))
        return self.head(self.act(x).mean((2, 3)))


def small_extractor() -> Extractor:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        module = Small()
        for norm in (module.bn1, module.bn2):
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.3, 0.6)
    card = replace(CARDS["efficientnet-lite0"], name="small", input_size=SIDE, classes=4)
    model = Model(module.eval().requires_grad_(False), card, torch.device("cpu"), "0" * 12)
    return Extractor(model, fold=False)


@pytest.fixture
def pictures(tmp_path: Path) -> list[CaptionedPicture]:
    """Fourteen of noise, already of the network's size, so that bytes are kept as they are."""
    found, texts = [], sentences(14)
    for number in range(14):
        pixels = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        split = "train" if number < 11 else "dev"
        found.append(CaptionedPicture(f"{number}.png", tmp_path / f"{number}.png", (texts[number],), split))
    return found


@pytest.fixture
def framed(pictures: list[CaptionedPicture], tmp_path: Path) -> KeptRows:
    (tmp_path / "run").mkdir()
    return framed_pictures(pictures, small_extractor(), tmp_path / "run")


def tuner_of(
    pictures, framed, options=OPTIONS, *, seed: int = 0, attention: bool = True, dropout: float = 0.2, pca=None
):
    extractor = small_extractor()
    sight = Sight(framed, extractor, attention=attention, pca=pca)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        shape = ModelOptions(hidden=8, embedding=5, dropout=dropout, attention=attention)
        captioner = Captioner(shape, len(VOCABULARY), sight.channels)
    source = Source(sight, dict(framed.rows), "small", extractor.origin.fingerprint)
    training, development = (
        corpus_of([each for each in pictures if each.split == split], source, VOCABULARY, 8)
        for split in ("train", "dev")
    )
    return FineTuner(captioner, training, development, VOCABULARY, options, sight)


def run(tuner: FineTuner, steps: int | None = None) -> list:
    epochs, asked = [], iter(range(10**6))
    stop = (lambda: False) if steps is None else (lambda: next(asked) == steps)
    assert tuner.run(on_epoch=epochs.append, stop=stop) == (steps is None)
    return [replace(epoch, seconds=0, tokens_per_second=0) for epoch in epochs]


def copied(tuner: FineTuner) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in tuner.weights().items()}


# Pictures on disk -------------------------------------------------------------------------------------------------


def test_pictures_are_kept_as_they_are(pictures, framed, tmp_path: Path) -> None:
    for number in (13, 0, 5):
        with Image.open(tmp_path / f"{number}.png") as picture:
            np.testing.assert_array_equal(framed.read([framed.rows[f"{number}.png"]])[0], np.asarray(picture))
    assert np.load(framed.path, allow_pickle=False).shape == (14, SIDE, SIDE, 3)
    written = framed.path.stat().st_mtime_ns
    heard: list[Step] = []
    again = framed_pictures(pictures, small_extractor(), tmp_path / "run", heard.append)
    assert (again.path, again.path.stat().st_mtime_ns, heard) == (framed.path, written, [])


def test_other_pictures_get_another_file(pictures, framed, tmp_path: Path) -> None:
    heard: list[Step] = []
    other = framed_pictures(pictures[1:], small_extractor(), tmp_path / "run", heard.append)
    assert other.path != framed.path
    assert [(step.done, step.total) for step in heard] == [(13, 13)]
    remade = Image.new("RGB", (SIDE, SIDE))
    remade.save(pictures[0].path)
    assert framed_pictures(pictures, small_extractor(), tmp_path / "run").path not in (framed.path, other.path)
    (tmp_path / "run" / "pictures-mine.npy").touch()
    assert has_kept_rows(tmp_path / "run")
    remove_kept_rows(tmp_path / "run")
    assert not has_kept_rows(tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["pictures-mine.npy"]


def test_pictures_are_kept_whole_or_not_at_all(pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cvtool.caption.pictures._TOGETHER", 4)
    folder = tmp_path / "run"
    folder.mkdir()

    def interrupt(step: Step) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        framed_pictures(pictures, small_extractor(), folder, interrupt)
    assert list(folder.iterdir()) == []
    (folder / ".cvtool-killed.npy").write_bytes(b"half")
    pictures[9].path.write_bytes(b"no picture")
    with pytest.raises(BadInputError, match=r"9\.png"):
        framed_pictures(pictures, small_extractor(), folder)
    assert list(folder.iterdir()) == []
    path = framed_pictures(pictures[:9], small_extractor(), folder).path
    path.write_bytes(path.read_bytes()[:-1])
    archive = io.BytesIO()
    np.savez(archive, np.zeros(3))
    header = b"{'descr': ("
    for data in (archive.getvalue(), b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header):
        path.write_bytes(data)
        with pytest.raises(BadInputError, match="is broken"):
            framed_pictures(pictures[:9], small_extractor(), folder)
    path.write_bytes(b"")
    with pytest.raises(BadInputError, match="is broken"):
        framed_pictures(pictures[:9], small_extractor(), folder)
    np.save(path, np.zeros(3))
    with pytest.raises(BadInputError, match="something else"):
        framed_pictures(pictures[:9], small_extractor(), folder)
    path.unlink()
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(CvtoolError, match="has room for"):
        framed_pictures(pictures[:9], small_extractor(), folder)


# What the network sees --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", [True, False])
def test_the_same_features_with_and_without_gradients(pictures, framed, tmp_path: Path, attention: bool) -> None:
    """And the same as the file of features has, of either image."""
    sight = Sight(framed, small_extractor(), attention=attention)
    file = compute_features(pictures, small_extractor(), tmp_path / "f.h5", flipped=True)
    rows, numbers = file.rows("spatial" if attention else "pooled"), [3, 0, 7]
    for flipped in (False, True):
        kept = rows.read(file.numbers(f"{number}.png" for number in numbers), flipped)
        np.testing.assert_array_equal(sight.read(numbers, flipped), kept)
        seen = sight.see(numbers, np.full(3, flipped))
        assert seen.requires_grad
        np.testing.assert_allclose(seen.detach().numpy(), kept, atol=2e-3)
    mixed = sight.see(numbers, np.array([True, False, True])).detach()
    for place, flipped in enumerate((True, False, True)):
        np.testing.assert_allclose(mixed[place], sight.see(numbers, np.full(3, flipped))[place].detach(), atol=1e-6)
    pca = Pca(np.full(8, 0.5, np.float32), np.eye(8, dtype=np.float32)[[2, 5]] * 3)
    projected = Sight(framed, small_extractor(), attention=attention, pca=pca)
    assert projected.channels == 2
    wanted = (sight.see(numbers, np.zeros(3, bool)).detach()[..., [2, 5]] - 0.5) * 3
    torch.testing.assert_close(projected.see(numbers, np.zeros(3, bool)).detach(), wanted)
    np.testing.assert_allclose(projected.read(numbers, False), wanted, atol=1e-2)


def test_all_that_features_need_is_trained_and_nothing_else(pictures, framed) -> None:
    tuner = tuner_of(pictures, framed)
    names = {f"{layer}.{what}" for layer in ("bn1", "bn2") for what in ("weight", "bias")}
    assert tuner.sight.tuned.keys() == names | {"conv1.weight", "conv2.weight"}
    module = tuner.sight.extractor.model.module
    assert [name for name, each in module.named_parameters() if not each.requires_grad] == ["head.weight", "head.bias"]
    assert [len(group["params"]) for group in tuner.optimizer.param_groups[2:]] == [2, 4]
    assert [group["weight_decay"] for group in tuner.optimizer.param_groups] == [0.01, 0, 0.01, 0]


def test_the_gradient_of_the_first_layer(pictures, framed) -> None:
    """Against a difference of the loss, for the weights that matter most; dropout off, images as the seed has them."""
    tuner = tuner_of(pictures, framed, dropout=0.0)
    numbers = [0, 4, 2, 9]

    def loss() -> Tensor:
        return tuner._step(numbers, Share.whole(4), 5)[0]

    loss().backward()
    for name in ("conv1.weight", "bn1.bias", "bn2.weight"):
        weights = tuner.sight.tuned[name]
        flat, gradient = weights.data.view(-1), weights.grad.view(-1)
        place = int(gradient.abs().argmax())
        kept, step = float(flat[place]), 2e-3
        values = []
        for offset in (step, -step):
            flat[place] = kept + offset
            with torch.no_grad():
                values.append(float(loss()))
        flat[place] = kept
        difference = (values[0] - values[1]) / (2 * step)
        assert abs(difference) > 1e-3
        assert float(gradient[place]) == pytest.approx(difference, rel=0.03, abs=2e-3), name


def test_gradients_in_bfloat16(pictures, framed) -> None:
    """The same but for its rounding, also where words are drawn without gradients in between."""
    gradients = []
    for precision in ("fp32", "bf16"):
        tuner = tuner_of(pictures, framed, replace(OPTIONS, precision=precision, scheduled=0.5), dropout=0.0)
        tuner.sight.extractor.precision = precision
        tuner.position.epoch = 1
        torch.manual_seed(0)
        tuner._step([0, 4, 2, 9], Share.whole(4), 5)[0].backward()
        gradients.append([each.grad.flatten() for each in tuner.sight.tuned.values()])
    for one, other in zip(*gradients, strict=True):
        assert not torch.equal(one, other)
        assert float(torch.cosine_similarity(one, other, 0)) > 0.98


def test_a_first_step_by_hand(pictures, framed) -> None:
    """AdamW's first step goes by the rate against the sign of the gradient, after the weights decayed."""
    options = replace(OPTIONS, clip=1e9, warmup=4)
    one, other = (tuner_of(pictures, framed, options, dropout=0.0) for _ in range(2))
    torch.manual_seed(0)
    other._step([0, 4, 2, 9], Share.whole(4), 5)[0].backward()
    torch.manual_seed(0)
    one._learn([0, 4, 2, 9], 5, critical=False)
    rate = 2e-3 / 4
    for name, before in other.sight.tuned.items():
        decay = rate * 0.01 if before.ndim > 1 else 0
        gradient = before.grad
        wanted = before.detach() * (1 - decay) - rate * gradient / (gradient.abs() + 1e-8)
        torch.testing.assert_close(one.sight.tuned[name].detach(), wanted, rtol=1e-5, atol=1e-7)


def test_one_norm_for_all_gradients(pictures, framed) -> None:
    tuner = tuner_of(pictures, framed, replace(OPTIONS, clip=0.01))
    tuner._learn([0, 1, 2], 5, critical=False)
    norm = sum(float(each.grad.square().sum()) for each in tuner.parameters()) ** 0.5
    assert norm == pytest.approx(0.01, rel=1e-3)
    assert all(any(each is one for one in tuner.parameters()) for each in tuner.sight.tuned.values())


def test_the_rates(pictures, framed) -> None:
    tuner = tuner_of(pictures, framed, replace(OPTIONS, epochs=10, warmup=3, scst=2, scst_rate=1e-3))
    for step in (0, 2, 15, 29):
        captioner, network = tuner.rates(step)[0], tuner.rates(step)[3]
        assert captioner == tuner.rate(step)
        assert network == pytest.approx(captioner / 5)
    assert tuner.rates(35) == [1e-3] * 4
    tuner.options = replace(tuner.options, scst_rate=1e-2)
    assert tuner.rates(35) == [1e-2, 1e-2, 2e-3, 2e-3]


@pytest.mark.parametrize("name", VARIANTS)
def test_what_moves_and_what_does_not(pictures, framed, name: str) -> None:
    tuner = tuner_of(pictures, framed, VARIANTS[name])
    module = tuner.sight.extractor.model.module
    before, all_before = copied(tuner), {key: value.clone() for key, value in module.state_dict().items()}
    run(tuner)
    after = module.state_dict()
    for key, value in all_before.items():
        stays = "running" in key or "tracked" in key or key.startswith("head")
        assert torch.equal(value, after[key]) == stays, key
    assert not any(
        torch.equal(before[f"network.{key}"], tuner.weights()[f"network.{key}"]) for key in tuner.sight.tuned
    )
    assert not module.training


def test_it_learns_by_the_network_alone(pictures, framed) -> None:
    """With a rate of 0 for the captioner, the loss falls by the network's weights; and the other way nothing moves."""
    options = replace(OPTIONS, epochs=30, rate=0, finetune_rate=3e-2, patience=99)
    tuner = tuner_of(pictures, framed, options, dropout=0.0)
    losses = [epoch.loss for epoch in run(tuner)]
    assert losses[-1] < 0.95 * losses[0]
    still = tuner_of(pictures, framed, replace(OPTIONS, finetune_rate=0))
    before = copied(still)
    run(still)
    assert all(torch.equal(before[key], value) == key.startswith("network.") for key, value in still.weights().items())


@pytest.mark.parametrize("name", VARIANTS)
def test_after_any_step_it_goes_on_to_the_same_end(pictures, framed, name: str) -> None:
    whole = tuner_of(pictures, framed, VARIANTS[name])
    wanted = run(whole)
    assert len(wanted) == 2
    for steps in range(6):
        first = tuner_of(pictures, framed, VARIANTS[name])
        done = run(first, steps)
        buffer = io.BytesIO()
        torch.save(first.state(), buffer)
        second = tuner_of(pictures, framed, VARIANTS[name], seed=99)
        with torch.no_grad():
            second.sight.tuned["conv1.weight"].add_(1)
        second.load_state(torch.load(io.BytesIO(buffer.getvalue()), weights_only=True))
        assert done + run(second) == wanted
        assert [key for key, value in whole.weights().items() if not torch.equal(value, second.weights()[key])] == []
        assert second._best.keys() == whole.weights().keys()


# Checkpoints ------------------------------------------------------------------------------------------------------


def tuned_checkpoint(pictures, framed) -> tuple[FineTuner, Checkpoint]:
    tuner = tuner_of(pictures, framed)
    run(tuner, 3)
    base = tuner.sight.extractor.origin.fingerprint
    return tuner, Checkpoint(tuner.captioner, VOCABULARY, "small", base, 8, network=tuner.network_weights())


def test_a_checkpoint_carries_the_network(pictures, framed, tmp_path: Path) -> None:
    tuner, checkpoint = tuned_checkpoint(pictures, framed)
    write_checkpoint(tmp_path / "c.safetensors", checkpoint)
    found = read_checkpoint(tmp_path / "c.safetensors")
    assert found.network.keys() == tuner.sight.tuned.keys()
    assert all(torch.equal(found.network[name], value) for name, value in checkpoint.network.items())
    assert (found.fingerprint, found.features_fingerprint) == (checkpoint.fingerprint, checkpoint.features_fingerprint)
    assert found.features_fingerprint != found.fingerprint
    assert replace(found, network={}).features_fingerprint == found.fingerprint
    nudged = {**found.network, "bn1.bias": found.network["bn1.bias"] + 1e-6}
    assert tuned_fingerprint(found.fingerprint, nudged) != found.features_fingerprint

    write_checkpoint(tmp_path / "half.safetensors", checkpoint, dtype=torch.float16)
    half = read_checkpoint(tmp_path / "half.safetensors")  # other weights, other features
    assert half.features_fingerprint not in (found.features_fingerprint, found.fingerprint)
    assert all(torch.equal(half.network[name], value.half().float()) for name, value in checkpoint.network.items())

    for fold in (False, True):
        other = small_extractor()
        extractor = Extractor(other.model, fold=fold)
        extractor.tune(found.network)
        assert extractor.origin.fingerprint == found.features_fingerprint
        assert extractor.origin.model == "small, fine-tuned"
        canvases = list(framed.read([0, 5]).astype(np.float32) / 255)
        spatial = extractor(canvases)[1]
        np.testing.assert_allclose(spatial, tuner.sight.read([0, 5], False), atol=1e-2 if fold else 0)
        assert np.abs(spatial - small_extractor()(canvases)[1]).max() > 1e-3


@pytest.mark.parametrize("name", ["conv9.weight", "conv1.weight"])
def test_weights_of_another_network(name: str) -> None:
    with pytest.raises(BadInputError, match=f"'{name}' does not fit small"):
        small_extractor().tune({name: torch.zeros(2, 2)})


# Only the end of the network --------------------------------------------------------------------------------------


def halfway_of(pictures, folder: Path, layer: str = "conv2", **more) -> HalfwaySight:
    halfway = Halfway(small_extractor(), layer)
    return HalfwaySight(halfway_maps(pictures, halfway, folder), halfway, **{"attention": True, **more})


@pytest.mark.parametrize("attention", [True, False])
def test_halfway_is_the_same_way(pictures, framed, tmp_path: Path, attention: bool) -> None:
    whole = Sight(framed, small_extractor(), attention=attention)
    half = halfway_of(pictures, tmp_path / "run", attention=attention)
    numbers, mirrored = [3, 0, 7], np.array([True, False, True])
    for flipped in (False, True):
        np.testing.assert_allclose(half.read(numbers, flipped), whole.read(numbers, flipped), atol=2e-3)
    one, other = (sight.see(numbers, mirrored) for sight in (whole, half))
    torch.testing.assert_close(other, one, atol=2e-3, rtol=0)
    for seen in (one, other):
        seen.square().sum().backward()
    assert half.tuned.keys() == {"conv2.weight", "bn2.weight", "bn2.bias"}
    for name, parameter in half.tuned.items():
        wanted = whole.tuned[name].grad
        torch.testing.assert_close(parameter.grad, wanted, atol=2e-3 * float(wanted.abs().max()), rtol=0)
    rest = [each for name, each in half.extractor.model.module.named_parameters() if name not in half.tuned]
    assert not any(each.requires_grad for each in rest)


def test_halfway_through_the_bundled_network(pictures, tmp_path: Path) -> None:
    """Where stages have shortcuts inside them, and the norms before the layer stay."""
    extractor = Extractor(load("efficientnet-lite0"), fold=False)
    halfway = Halfway(extractor, "blocks.5")
    sight = HalfwaySight(halfway_maps(pictures[:2], halfway, tmp_path), halfway, attention=True)
    assert halfway.shape == (14, 14, 112)
    assert {name.split(".")[0] for name in sight.tuned} == {"blocks", "conv_head", "bn2"}
    assert {name.split(".")[1] for name in sight.tuned if name.startswith("blocks")} == {"5", "6"}
    canvases = [extractor.canvas(read_picture(each.path)) for each in pictures[:2]]
    np.testing.assert_allclose(sight.read([0, 1], False), extractor(canvases)[1], atol=0.02)


def test_a_network_is_cut_whatever_its_precision() -> None:
    extractor = Extractor(load("efficientnet-lite0"), precision="bf16", fold=False)
    assert Halfway(extractor, "blocks.5").shape == (14, 14, 112)


@pytest.mark.parametrize(
    ("layer", "error", "text"),
    [
        ("blocks.9", UnknownNameError, "No layer 'blocks.9'"),
        ("classifier", UsageError, "is given no map"),
        ("blocks.2.1.conv_dw", UsageError, "looks past it"),
    ],
)
def test_where_a_network_can_be_cut(layer: str, error: type, text: str) -> None:
    extractor = Extractor(load("efficientnet-lite0"), fold=False)
    with pytest.raises(error, match=text):
        Halfway(extractor, layer)


def test_halfway_maps_are_those_of_the_layer_and_the_network(pictures, tmp_path: Path) -> None:
    one = halfway_maps(pictures, Halfway(small_extractor(), "conv2"), tmp_path)
    assert np.load(one.path).shape == (14, 2, 8, 8, 6)
    assert np.load(one.path).dtype == np.float16
    assert halfway_maps(pictures, Halfway(small_extractor(), "bn2"), tmp_path).path != one.path
    assert has_kept_rows(tmp_path)
    remove_kept_rows(tmp_path)
    assert not list(tmp_path.glob("maps-*"))


def test_it_learns_halfway(pictures, framed, tmp_path: Path) -> None:
    """The same as from the pixels where what comes before the layer is held, but for float16 on disk."""
    tuner = tuner_of(pictures, framed, replace(OPTIONS, epochs=2), dropout=0.0)
    for name in ("conv1.weight", "bn1.weight", "bn1.bias"):
        tuner.sight.tuned.pop(name).requires_grad_(False)
    tuner.optimizer = torch.optim.AdamW(tuner.parameter_groups(), lr=OPTIONS.rate, betas=(0.9, 0.98))
    half = tuner_of(pictures, framed, replace(OPTIONS, epochs=2), dropout=0.0)
    half.sight = halfway_of(pictures, tmp_path / "run")
    half.corpus, half.development = (replace(each, features=half.sight) for each in (half.corpus, half.development))
    half.optimizer = torch.optim.AdamW(half.parameter_groups(), lr=OPTIONS.rate, betas=(0.9, 0.98))
    for one, other in zip(run(tuner), run(half), strict=True):
        assert other.loss == pytest.approx(one.loss, rel=1e-3)
        assert other.perplexity == pytest.approx(one.perplexity, rel=1e-2)
