"""Folding batch norms changes the time, not the function."""

import pytest
import torch
import torchvision
from torch import nn

from cvtool.hooks import features
from cvtool.models.folding import fold_batch_norm
from cvtool.models.loader import load


def norms(module):
    return [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]


def shaken(module):
    """Statistics and scales as after a training, from a seed."""
    generator = torch.Generator().manual_seed(0)
    for norm in norms(module):
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            tensor.data = 0.5 + torch.rand(tensor.shape, generator=generator)
    return module.eval().requires_grad_(False)


def test_the_default_network_gives_the_same_maps_under_the_same_names():
    model = load("efficientnet-lite0")
    folded = fold_batch_norm(model.module, 224)
    assert not norms(folded)
    assert norms(model.module)  # the original stays as it was
    x = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(1))
    names = [*model.card.style_layers, "blocks.6"]
    before, after = features(model.module, x, names), features(folded, x, names)
    for name in names:
        torch.testing.assert_close(after[name], before[name], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "mobilenet_v3_small"])
def test_other_networks_compute_the_same(name):
    module = shaken(torchvision.models.get_model(name, weights=None))
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    expected = module(x)
    got = fold_batch_norm(module, 64)(x)
    assert (got - expected).norm() <= 1e-3 * expected.norm()


def test_a_convolution_used_twice_is_left_alone():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.one, self.two = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)

        def forward(self, x):
            return self.two(self.conv(self.one(self.conv(x))))

    module = shaken(Twice())
    assert len(norms(fold_batch_norm(module, 8))) == 2


def test_an_output_that_is_also_used_elsewhere_is_noticed():
    class Shortcut(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x):
            y = self.conv(x)
            return self.norm(y) + y

    module = shaken(Shortcut())
    assert fold_batch_norm(module, 8) is module
