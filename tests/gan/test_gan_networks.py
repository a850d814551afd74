"""Shapes, weights and classes of all families."""

from __future__ import annotations

import pytest
import torch

from cvtool.errors import UsageError
from cvtool.gan.networks import ARCHITECTURES, Shape, build
from cvtool.gan.networks.registry import MinibatchDeviation, levels_of
from cvtool.gan.options import Arch, NetworkOptions

OWN = [Arch.mlp, Arch.dcgan, Arch.resnet]
COURSE = [Arch.cs231n_mlp, Arch.cs231n_dc]


def weights(module: torch.nn.Module) -> int:
    return sum(each.numel() for each in module.parameters())


def test_every_name_has_a_family():
    assert set(ARCHITECTURES) == set(Arch)


@pytest.mark.parametrize(
    ("arch", "generator", "discriminator"),
    [(Arch.cs231n_mlp, 1952528, 267009), (Arch.cs231n_dc, 6675009, 1102721)],
)
def test_the_assignments_networks_to_the_last_weight(arch, generator, discriminator):
    pair = build(NetworkOptions(arch=arch, latent=96), Shape(28, 1))
    assert (weights(pair[0]), weights(pair[1])) == (generator, discriminator)


@pytest.mark.parametrize("arch", COURSE)
@pytest.mark.parametrize("shape", [Shape(32, 1), Shape(28, 3)])
def test_the_assignments_networks_say_what_they_make(arch, shape):
    with pytest.raises(UsageError, match="28 px"):
        build(NetworkOptions(arch=arch), shape)


@pytest.mark.parametrize("arch", OWN)
@pytest.mark.parametrize("size", [8, 28, 32, 37, 64, 100])
@pytest.mark.parametrize("classes", [0, 3])
def test_any_side(arch, size, classes):
    shape = Shape(size, 3, classes)
    generator, discriminator = build(NetworkOptions(arch=arch, width=4, minibatch_std=arch is not Arch.mlp), shape)
    z = generator.noise(4, torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 0]) if classes else None
    x = generator(z, labels)
    assert x.shape == (4, 3, size, size)
    assert x.abs().max() <= 1
    assert discriminator(x, labels).shape == (4,)


@pytest.mark.parametrize("size", range(8, 130))
def test_levels_reach_the_side_and_start_small(size):
    levels, start = levels_of(size)
    assert start * 2**levels >= size > (start - 1) * 2**levels
    assert 4 <= start <= 8


@pytest.mark.parametrize("arch", OWN)
def test_a_side_too_large_is_refused(arch):
    with pytest.raises(UsageError, match="px"):
        build(NetworkOptions(arch=arch), Shape(4, 1))


@pytest.mark.parametrize("arch", OWN)
def test_pictures_of_a_batch_do_not_mix_in_the_discriminator(arch):
    """Penalties on single pictures need that."""
    _, discriminator = build(NetworkOptions(arch=arch, width=4), Shape(16, 1, 2))
    x, labels = torch.randn(6, 1, 16, 16), torch.tensor([0, 1, 0, 1, 0, 1])
    together = discriminator(x, labels)
    alone = torch.cat([discriminator(x[i : i + 1], labels[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("arch", OWN)
def test_the_class_matters_to_both(arch):
    generator, discriminator = build(NetworkOptions(arch=arch, width=4), Shape(16, 1, 2))
    generator.eval()
    z = generator.noise(1, torch.Generator().manual_seed(0))
    one, other = torch.tensor([0]), torch.tensor([1])
    assert not torch.equal(generator(z, one), generator(z, other))
    x = generator(z, one)
    assert discriminator(x, one) != discriminator(x, other)


def test_weights_of_classes_lie_between_them():
    generator, _ = build(NetworkOptions(width=4), Shape(16, 1, 3))
    generator.eval()
    z = generator.noise(1, torch.Generator().manual_seed(0))
    numbers = torch.tensor([2])
    torch.testing.assert_close(generator(z, numbers), generator(z, torch.tensor([[0.0, 0.0, 1.0]])))


def test_projection_is_the_inner_product_of_class_and_features():
    _, discriminator = build(NetworkOptions(width=4), Shape(16, 1, 3))
    x, labels = torch.randn(2, 1, 16, 16), torch.tensor([0, 2])
    features = discriminator.features(x)
    expected = discriminator.head(features)[:, 0] + torch.einsum(
        "nd,nd->n", discriminator.embed.weight[labels], features
    )
    torch.testing.assert_close(discriminator(x, labels), expected)


def test_spectral_norm_bounds_every_layer():
    torch.manual_seed(0)
    _, discriminator = build(NetworkOptions(width=4, spectral=True), Shape(16, 1))
    discriminator.train()
    for _ in range(50):  # the power method runs along
        discriminator(torch.randn(2, 1, 16, 16))
    discriminator.eval()
    for layer in discriminator.modules():
        if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear)):
            largest = torch.linalg.svdvals(layer.weight.detach().flatten(1))[0]
            assert largest == pytest.approx(1, abs=0.05)


def test_deviation_within_groups_by_hand():
    x = torch.tensor([0.0, 2.0, 0.0, 2.0, 5.0, 5.0, 5.0, 5.0]).view(8, 1, 1, 1)
    more = MinibatchDeviation()(x)[:, 1, 0, 0]
    torch.testing.assert_close(more, torch.tensor([1.0] * 4 + [1e-4] * 4))


def test_noise_is_normal_for_ours_and_even_for_the_assignments():
    chance = torch.Generator().manual_seed(0)
    ours = build(NetworkOptions(), Shape(28, 1))[0].noise(1000, chance)
    course = build(NetworkOptions(arch=Arch.cs231n_mlp), Shape(28, 1))[0].noise(1000, chance)
    assert ours.std() == pytest.approx(1, abs=0.02)
    assert course.std() == pytest.approx(3**-0.5, abs=0.02)
    assert course.abs().max() <= 1
