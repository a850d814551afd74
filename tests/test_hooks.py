"""Borrowed activations: the right values, the right gradients, and the network handed back as it was."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cvtool.errors import UnknownNameError, UsageError
from cvtool.hooks import auto_layers, feature_layers, features, record


class Counted(nn.Module):
    """Passes its input on and counts how often it ran."""

    def __init__(self) -> None:
        super().__init__()
        self.runs = 0

    def forward(self, x: Tensor) -> Tensor:
        self.runs += 1
        return x * 1


class Residual(nn.Module):
    """`out += x` behind a layer, as in ResNet; one ReLU that runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv2(self.relu(self.conv1(x)))
        out += x
        return self.relu(out)


@pytest.fixture
def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), Residual(), nn.MaxPool2d(2), Counted())


def count_hooks(module: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())


def by_hand(net: nn.Sequential, x: Tensor) -> dict[str, Tensor]:
    """The same values by plain function calls without any in-place operation."""
    conv, block = net[0], net[2]
    a = conv(x)
    b = torch.relu(a)
    c = block.conv1(b)
    d = torch.relu(c)
    e = block.conv2(d)
    f = torch.relu(e + b)
    return {"0": a, "1": b, "2.conv1": c, "2.relu": d, "2.conv2": e, "2": f, "3": torch.max_pool2d(f, 2)}


NAMES = ["0", "1", "2.conv1", "2.relu", "2.conv2", "2", "3"]


@pytest.mark.parametrize("names", [NAMES, ["2.conv2", "0"], ["0"], ["2.conv1", "3"]])
def test_values_survive_in_place_operations(net: nn.Sequential, names: list[str]) -> None:
    x = torch.randn(2, 3, 9, 11)
    expected = by_hand(net, x)
    full = net(x)
    with record(net, names) as kept:
        result = net(x)
    for got in (kept, features(net, x, names), features(net, x, names)):
        assert set(got) == set(names)
        for name in names:
            torch.testing.assert_close(got[name], expected[name])
    assert torch.equal(result, full)
    with torch.inference_mode():
        got = features(net, x, names)
        for name in names:
            torch.testing.assert_close(got[name], expected[name])


def test_gradients_are_those_of_the_plain_network(net: nn.Sequential) -> None:
    x = torch.randn(1, 3, 9, 9, requires_grad=True)

    def gradient(values: dict[str, Tensor]) -> Tensor:
        loss = sum((values[name] ** 2).sum() * (i + 1) for i, name in enumerate(NAMES))
        return torch.autograd.grad(loss, x)[0]

    expected = gradient(by_hand(net, x))
    torch.testing.assert_close(gradient(features(net, x, NAMES)), expected)
    torch.testing.assert_close(gradient(features(net, x, NAMES)), expected)  # the second call knows where to copy
    with record(net, NAMES) as kept:
        net(x)
    torch.testing.assert_close(gradient(kept), expected)


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "shufflenet_v2_x0_5"])
def test_truncated_features_equal_a_full_pass(name: str) -> None:
    from torchvision.models import get_model

    torch.manual_seed(1)
    module = get_model(name, weights=None).eval()
    style, content = auto_layers(module, 64)
    names = list(dict.fromkeys([*style, *content]))
    x = torch.randn(1, 3, 64, 64)
    expected: dict[str, Tensor] = {}
    layers = dict(module.named_modules())

    def keep(layer: str, output: Tensor) -> None:
        expected.setdefault(layer, output.clone())

    handles = [layers[n].register_forward_hook(lambda _, __, out, n=n: keep(n, out)) for n in names]
    with torch.no_grad():
        module(x)
        for handle in handles:
            handle.remove()
        got = features(module, x, names)
    for layer in names:
        assert torch.equal(got[layer], expected[layer]), layer


def test_only_the_needed_part_of_the_network_runs(net: nn.Sequential) -> None:
    counted = net[4]
    assert isinstance(counted, Counted)
    x = torch.randn(1, 3, 9, 9)
    features(net, x, ["3", "0"])
    with record(net, ["2"], stop_early=True) as kept:
        net(x)
    assert "2" in kept
    assert counted.runs == 0
    features(net, x, ["4"])
    assert counted.runs == 1


def test_hooks_go_after_success_and_after_exceptions(net: nn.Sequential) -> None:
    before = count_hooks(net)
    good, bad = torch.randn(1, 3, 9, 9), torch.randn(1, 5, 9, 9)
    features(net, good, NAMES)
    feature_layers(net, good)
    for call in (lambda: features(net, bad, NAMES), lambda: feature_layers(net, bad)):
        with pytest.raises(RuntimeError):
            call()
    with pytest.raises(UnknownNameError):
        features(net, good, ["0", "no"])
    with pytest.raises(RuntimeError), record(net, NAMES):
        net(bad)
    assert count_hooks(net) == before


def test_a_second_pass_in_the_block_replaces_the_first(net: nn.Sequential) -> None:
    one, two = torch.randn(1, 3, 9, 9), torch.randn(1, 3, 9, 9)
    with record(net, ["0"]) as kept:
        net(one)
        net(two)
    assert torch.equal(kept["0"], net[0](two))


def test_unknown_layers_are_answered_with_the_nearest(net: nn.Sequential) -> None:
    with pytest.raises(UnknownNameError, match=r"No layer '2\.conv3'\. Nearest: 2\.conv.*The outer layers are 0, "):
        features(net, torch.randn(1, 3, 9, 9), ["2.conv3"])


def test_layers_that_cannot_be_recorded_are_named(net: nn.Sequential) -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.unused = nn.LSTM(4, 4), nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x)[0]

    with pytest.raises(UsageError, match="Layer 'inner' gives a tuple"):
        features(Odd(), torch.randn(2, 1, 4), ["inner"])
    with pytest.raises(UsageError, match="Layer 'unused' does not run"):
        features(Odd(), torch.randn(2, 1, 4), ["unused"])


def test_no_names_run_nothing(net: nn.Sequential) -> None:
    assert features(net, torch.zeros(1, 5, 1, 1), []) == {}


def test_feature_layers_tell_size_and_stride_in_order() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 16 * 16, 2)
    )
    found = feature_layers(net, torch.zeros(1, 3, 64, 64))
    assert [(layer.name, layer.channels, layer.stride, layer.shape) for layer in found] == [
        ("0", 8, 2, (1, 8, 32, 32)),
        ("1", 8, 2, (1, 8, 32, 32)),
        ("2", 8, 4, (1, 8, 16, 16)),
    ]
    assert [layer.activated for layer in found] == [False, True, False]


def test_a_block_that_ends_in_pooling_is_not_taken_for_a_feature() -> None:
    stage = [nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)) for _ in range(3)]
    assert auto_layers(nn.Sequential(*stage), 32) == (("0.1", "1.1", "2.1"), ("2.1",))


@pytest.mark.parametrize(
    ("name", "style", "content"),
    [  # the pooling that follows each of vgg11's is at half the resolution
        ("vgg11", ("features.1", "features.4", "features.9", "features.14", "features.19"), "features.14"),
        ("resnet18", ("relu", "layer1", "layer2", "layer3", "layer4"), "layer2"),
        ("squeezenet1_1", ("features.1", "features.4", "features.7", "features"), "features.7"),
    ],
)
def test_auto_layers_are_the_last_activations_of_each_resolution(
    name: str, style: tuple[str, ...], content: str
) -> None:
    from torchvision.models import get_model

    with torch.device("meta"):  # shapes are all that is asked for
        module = get_model(name, weights=None).eval()
    assert auto_layers(module, 224) == (style, (content,))


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "mixer_s32_224"])
def test_networks_without_maps_are_refused(name: str) -> None:
    import timm

    module = timm.create_model(name, pretrained=False).eval()  # not on "meta": older releases need values to build
    with pytest.raises(UsageError, match="convolutional network is needed"):
        auto_layers(module, 224)
