"""What layers see: against hand-counted networks and against the support of gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cvtool.errors import UnknownNameError, UsageError
from cvtool.hooks import features
from cvtool.models.folding import fold_batch_norm
from cvtool.models.loader import Model, load
from cvtool.stylize.receptive import Field, receptive_field
from cvtool.stylize.tiles import plan_tiles


@pytest.fixture(scope="module")
def lite() -> Model:
    return load("efficientnet-lite0")


def network(*layers: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(*layers).eval().requires_grad_(False)


class Same(nn.Conv2d):
    """TensorFlow's padding: what is needed, the smaller half first."""

    def forward(self, input: Tensor) -> Tensor:
        sides: list[int] = []
        for size in (input.shape[3], input.shape[2]):
            total = max((-(-size // self.stride[0]) - 1) * self.stride[0] + self.kernel_size[0] - size, 0)
            sides += [total // 2, total - total // 2]
        return super().forward(nn.functional.pad(input, sides))


class SqueezeExcite(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x.mean((2, 3), keepdim=True).sigmoid()


# A kernel of 2r+1 after pixels per position s adds r·s on each side; up to a stride − 1 of it is in the own cell.
KNOWN = {
    "one 3x3": (network(nn.Conv2d(3, 4, 3, padding=1)), "0", Field(1, 1, {"0": 1})),
    "two 3x3": (network(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)), "1", Field(2, 1, {"1": 1})),
    "dilated": (network(nn.Conv2d(3, 4, 3, padding=4, dilation=4)), "0", Field(4, 1, {"0": 1})),
    "only wide": (network(nn.Conv2d(3, 4, (1, 7), padding=(0, 3))), "0", Field(3, 1, {"0": 1})),
    "only high": (network(nn.Conv2d(3, 4, (7, 1), padding=(3, 0))), "0", Field(3, 1, {"0": 1})),
    "patches": (network(nn.Conv2d(3, 4, 4, stride=4)), "0", Field(0, 4, {"0": 4})),
    # Position p sees pixels 2p−1 … 2p+1: one before its own cell of two.
    "strided": (network(nn.Conv2d(3, 4, 3, stride=2, padding=1)), "0", Field(1, 2, {"0": 2})),
    # Without padding, p sees 2p … 2p+4.
    "valid": (network(nn.Conv2d(3, 4, 5, stride=2)), "0", Field(3, 2, {"0": 2})),
    # A pool of 3 at stride 2 over that: positions 2p … 2p+2 of it, so pixels 4p … 4p+8.
    "valid, pooled": (network(nn.Conv2d(3, 4, 5, stride=2), nn.MaxPool2d(3, 2)), "1", Field(5, 4, {"1": 4})),
    "pool, then 3x3": (
        network(nn.MaxPool2d(2), nn.Conv2d(3, 4, 3, padding=1), nn.ReLU6()),
        "2",
        Field(2, 2, {"2": 2}),
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_counted_by_hand(name: str) -> None:
    module, layer, expected = KNOWN[name]
    assert receptive_field(module, [layer]) == expected


def test_of_several_layers_the_widest_and_coarsest_count() -> None:
    module = network(nn.Conv2d(3, 4, 9, padding=4), nn.MaxPool2d(4))
    # The pool's cell of 4 and the wide kernel's reach of 4 on either side of it.
    assert receptive_field(module, ["1", "0", "1"]) == Field(4, 4, {"1": 4, "0": 1})
    assert receptive_field(module, []) == Field(0, 1, {})


def test_a_grid_coarser_inside_than_where_it_is_looked_at() -> None:
    module = network(nn.MaxPool2d(4), nn.Upsample(scale_factor=4))
    field = receptive_field(module, ["1"])
    assert (field.stride, field.strides) == (4, {"1": 1})


def reach_of_changes(model: Model, layer: str, size: int, stride: int) -> int:
    """How far from a changed line of pixels features change, beyond their own cells; nothing is differentiated."""
    torch.manual_seed(1)
    x = torch.rand(2, 3, size, 48)
    reach = 0
    with torch.no_grad():
        (maps,) = features(model.module, model.normalize(x), [layer]).values()
        for row in range(size // 2, size // 2 + stride):
            changed = x.clone()
            changed[:, :, row] = torch.rand(2, 3, 48)
            (other,) = features(model.module, model.normalize(changed), [layer]).values()
            rows = (maps != other).any(0).any(0).any(-1).nonzero()
            first, last = int(rows.min()), int(rows.max())
            reach = max(reach, row - (first + 1) * stride + 1, last * stride - row)
    return reach


@pytest.mark.parametrize("layer", ["bn1", "blocks.1", "blocks.2", "blocks.3"])
def test_as_far_as_changed_pixels_reach_in_a_real_network(lite: Model, layer: str) -> None:
    field = receptive_field(lite.module, [layer], lite.normalize)
    stride = field.strides[layer]
    assert stride == {"bn1": 2, "blocks.1": 4, "blocks.2": 8, "blocks.3": 16}[layer]
    sizes = (320, 321)  # with padding as TensorFlow pads, odd sizes look to the other side
    assert field.halo == max(reach_of_changes(lite, layer, size, stride) for size in sizes)


@pytest.mark.parametrize(("height", "width"), [(400, 336), (397, 351)])
def test_maps_of_tiles_are_those_of_the_whole_picture(lite: Model, height: int, width: int) -> None:
    layers = ("bn1", "blocks.1", "blocks.2")
    module = fold_batch_norm(lite.module, lite.card.input_size)
    field = receptive_field(module, layers, lite.normalize)
    torch.manual_seed(2)
    picture = lite.normalize(torch.rand(1, 3, height, width))
    with torch.no_grad():
        whole = features(module, picture, layers)
        got = {name: torch.full_like(maps, float("nan")) for name, maps in whole.items()}
        for tile in plan_tiles(height, width, 160, field.halo, field.stride):
            maps = features(module, picture[..., tile.outer[0], tile.outer[1]], layers)
            for name in layers:
                here, there = tile.on_map(field.strides[name])
                got[name][..., there[0], there[1]] = maps[name][..., here[0], here[1]]
    for name in layers:
        torch.testing.assert_close(got[name], whole[name], rtol=1e-4, atol=1e-4)


def test_networks_with_padding_as_tensorflow_pads() -> None:
    module = network(Same(3, 8, 3, stride=2), nn.ReLU(), Same(8, 8, 5, stride=2))
    # 5 at stride 2 on positions of two pixels, after 3 at stride 2: 2 · 2 + 1 pixels before, where sizes are odd.
    assert receptive_field(module, ["2"]) == Field(5, 4, {"2": 4})


@pytest.mark.parametrize("globally", [SqueezeExcite(), nn.InstanceNorm2d(4), nn.GroupNorm(2, 4)])
def test_what_mixes_all_positions_has_no_field(globally: nn.Module) -> None:
    module = network(nn.Conv2d(3, 4, 3, padding=1), globally)
    assert receptive_field(module, ["0"]).halo == 1  # before it, there is one
    with pytest.raises(UsageError, match=r"see the whole picture.*--tile off"):
        receptive_field(module, ["1"])


def test_features_that_know_their_place_are_refused() -> None:
    class Place(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.linspace(0, 4, x.shape[-1])

    with pytest.raises(UsageError, match="where they stand"):
        receptive_field(network(nn.Conv2d(3, 4, 3, padding=1), Place()), ["1"])


def test_a_network_for_one_size_is_refused() -> None:
    with pytest.raises(UsageError, match="any size"):
        receptive_field(network(nn.Flatten(), nn.Linear(3 * 64 * 64, 4)), ["1"])


def test_layers_without_positions_and_unknown_ones_are_named() -> None:
    module = network(nn.AdaptiveAvgPool2d(7), nn.Conv2d(3, 4, 1))
    with pytest.raises(UsageError, match="'0' has no grid"):
        receptive_field(module, ["0"])
    with pytest.raises(UnknownNameError, match="No layer 'x'"):
        receptive_field(module, ["x"])


def test_the_random_generator_of_others_is_left_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    receptive_field(nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)), ["1"])
    assert torch.equal(before, torch.get_rng_state())
