"""Norms, goals, JPEG and wear against known answers."""

from __future__ import annotations

import io
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from cvtool.errors import UsageError
from cvtool.fool.attacks import ATTACKS
from cvtool.fool.attacks.signs import random_start
from cvtool.fool.attacks.sparse import _most, _worth
from cvtool.fool.attacks.universal import _on_levels
from cvtool.fool.goal import Goal
from cvtool.fool.jpeg import jpeg, soft_jpeg
from cvtool.fool.norms import dual_length, length, project, steepest
from cvtool.fool.options import Method, Norm
from cvtool.fool.service import usual_norm
from cvtool.fool.survival import parse_wears
from cvtool.images import resize
from cvtool.tensors import to_pixels, to_tensor


def changes(count: int = 4) -> torch.Tensor:
    return torch.randn((count, 3, 6, 5), generator=torch.Generator().manual_seed(2))


def test_lengths():
    change = torch.zeros(1, 3, 4, 4)
    change[0, :, 1, 1] = torch.tensor([3.0, -4.0, 0.0])
    change[0, 2, 3, 0] = 12
    assert [float(length(change, norm)) for norm in (Norm.linf, Norm.l2, Norm.l1, Norm.l0)] == [12, 13, 19, 2]


@pytest.mark.parametrize("norm", [Norm.linf, Norm.l2, Norm.l1])
def test_projection(norm):
    """No longer than allowed, unchanged where short enough, and no point of the ball is nearer."""
    change, radius = changes(), torch.tensor([0.5, 2.0, 1e-3, 1e6])
    found = project(change, norm, radius)
    assert (length(found, norm) <= radius * (1 + 1e-4)).all()
    torch.testing.assert_close(found[3], change[3])
    generator = torch.Generator().manual_seed(4)
    for _ in range(200):
        other = torch.randn(change.shape, generator=generator)
        other = other * (radius / length(other, norm)).view(-1, 1, 1, 1)
        mixed = 0.9 * found + 0.1 * other  # the ball is convex
        assert ((change - mixed).flatten(1).norm(dim=1) >= (change - found).flatten(1).norm(dim=1) - 1e-4).all()


def test_projection_to_few_pixels():
    found = project(changes(2), Norm.l0, torch.tensor([3.0, 0.0]))
    assert length(found, Norm.l0).tolist() == [3, 0]
    kept = changes(2)[0].square().sum(0).flatten().topk(3).indices
    assert set(found[0].abs().sum(0).flatten().nonzero()[:, 0].tolist()) == set(kept.tolist())


@pytest.mark.parametrize("norm", [Norm.linf, Norm.l2])
def test_the_steepest_step_reaches_the_dual_length(norm):
    gradient = changes()
    step = steepest(gradient, norm)
    torch.testing.assert_close(length(step, norm), torch.ones(4))
    torch.testing.assert_close((step * gradient).flatten(1).sum(1), dual_length(gradient, norm))


def test_a_random_start_in_linf_is_anywhere_in_the_cube():
    problem = SimpleNamespace(norm=Norm.linf, x=torch.full((2, 3, 40, 40), 0.5), eps=0.1, box=lambda x: x.clamp(0, 1))
    change = random_start(problem, torch.Generator().manual_seed(0)) - problem.x
    assert float(change.abs().max()) <= 0.1 + 1e-6
    assert (float(change.mean()), float(change.std())) == pytest.approx((0, 0.1 / math.sqrt(3)), abs=2e-3)


def test_a_change_for_all_pictures_is_whole_levels_and_no_longer():
    levels = torch.tensor([-8.0, -7.6, -0.4, 0.0, 0.9, 3.0, 7.999])
    torch.testing.assert_close(255 * _on_levels(levels / 255, 256), torch.tensor([-8.0, -7, 0, 0, 0, 3, 7]))
    assert torch.equal(_on_levels(levels / 255, None), levels / 255)


def test_a_step_in_l1_is_of_length_one_and_few_values():
    step = steepest(changes(), Norm.l1, share=0.05)
    torch.testing.assert_close(length(step, Norm.l1), torch.ones(4))
    assert (step.flatten(1) != 0).sum(1).tolist() == [round(0.05 * 90)] * 4


def test_a_bare_eps_is_a_bound_on_every_value():
    auto, ddn = ATTACKS[Method.auto], ATTACKS[Method.ddn]
    assert usual_norm(auto, 8 / 255) is Norm.linf
    assert usual_norm(auto, None) is Norm.l2
    assert usual_norm(ddn, 3.0) is Norm.l2  # measures in nothing else


def test_goal():
    logits = torch.tensor([[3.0, 1.0, 2.0, 0.0]])
    label = torch.tensor([0])
    anywhere, aimed = Goal(label, None), Goal(label, torch.tensor([1]))
    assert float(anywhere.margin(logits)) == -1
    assert float(aimed.margin(logits)) == -2
    assert int(anywhere.aim(logits)) == 2
    assert not anywhere.reached(logits)
    assert anywhere.reached(torch.tensor([[1.0, 1.0, 1.5, 0.0]]))
    assert float(aimed.logits_ratio(logits)) == pytest.approx((1 - 3) / (3 - (1 + 0) / 2))
    assert float(anywhere.logits_ratio(logits)) == pytest.approx((2 - 3) / (3 - 1))
    assert float(aimed.cross_entropy(logits)) == pytest.approx(float(logits.log_softmax(1)[0, 1]))


@pytest.mark.parametrize("wanted", [0.3, 0.6, 0.9, 0.99])
def test_confidence_is_a_probability(wanted):
    """The goal is reached exactly from that probability on, if the class comes first."""
    goal = Goal(torch.tensor([0]), torch.tensor([1]), wanted)
    for chance in np.linspace(0.05, 0.995, 60):
        logits = torch.tensor([[(1 - chance) * 0.6, chance, (1 - chance) * 0.4]]).log()
        first = chance > (1 - chance) * 0.6
        if abs(chance - wanted) > 0.01 and abs(chance - (1 - chance) * 0.6) > 0.01:
            assert bool(goal.reached(logits)) == (chance >= wanted and first)


def photo(height: int = 40, width: int = 52) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width] / 20
    planes = [np.sin(rows * 2 + columns), np.cos(rows - columns * 3), np.sin(rows * columns)]
    return (0.5 + 0.45 * np.stack(planes, axis=2)).astype(np.float32)


@pytest.mark.parametrize(("quality", "subsampled"), [(95, False), (75, True), (30, True)])
def test_jpeg_is_what_pillow_writes(quality, subsampled):
    pixels = photo()
    buffer = io.BytesIO()
    levels = np.rint(pixels * 255).astype(np.uint8)
    Image.fromarray(levels).save(buffer, "JPEG", quality=quality, subsampling="4:2:0" if subsampled else "4:4:4")
    wanted = np.asarray(Image.open(buffer), dtype=np.float32) / 255
    x = to_tensor(pixels)
    np.testing.assert_allclose(to_pixels(jpeg(x, quality, subsampled)), wanted, atol=1e-6)
    # The soft twin is near: it has to lead in the same direction.
    assert np.abs(to_pixels(soft_jpeg(x, quality, subsampled)) - wanted).mean() < 0.012


def test_the_gradient_of_jpeg_knows_what_is_thrown_away():
    """A gentle slope comes through a coarse JPEG, a checkerboard does not."""
    x = torch.full((1, 3, 32, 32), 0.5)
    rows, columns = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    kept = []
    for pattern in ((rows / 16 - 1) * 0.1, ((rows + columns) % 2 - 0.5) * 0.1):
        leaf = (x + 0.02 * pattern).requires_grad_()
        (gradient,) = torch.autograd.grad((jpeg(leaf, 20) * pattern).sum(), leaf)
        kept.append(float((gradient * pattern).sum() / (3 * pattern.square().sum())))
    assert kept[0] > 5 * abs(kept[1])


def test_wears():
    jpeg_75, smaller, blur = parse_wears("jpeg:75, resize:0.5,blur:1")
    assert [wear.name for wear in (jpeg_75, smaller, blur)] == ["jpeg:75", "resize:0.5", "blur:1"]
    pixels = photo()
    x = to_tensor(pixels)
    small = to_pixels(smaller.apply(x))
    np.testing.assert_allclose(small, resize(pixels, 20, 26, "bicubic"), atol=1 / 255)
    assert small.shape == (20, 26, 3)
    assert np.abs(np.diff(to_pixels(blur.apply(x)), axis=0)).mean() < np.abs(np.diff(pixels, axis=0)).mean()
    assert jpeg_75.apply(x).shape == x.shape


@pytest.mark.parametrize("text", ["jpeg", "jpeg:0", "jpeg:101", "resize:0", "blur:-1", "crop:1", "", "blur:nan"])
def test_nothing_to_survive(text):
    with pytest.raises(UsageError, match="jpeg:1"):
        parse_wears(text)


def test_psnr_and_ssim():
    from cvtool.similarity import psnr, ssim

    pixels = photo()
    assert ssim(pixels, pixels) == pytest.approx(1)
    assert psnr(pixels, pixels) == math.inf
    assert psnr(pixels, pixels + np.float32(0.1)) == pytest.approx(20, abs=1e-3)
    assert ssim(pixels, 1 - pixels) < 0.2


def test_a_pixel_is_worth_what_its_ends_can_raise_the_score():
    """Against trying both ends of every value; the best are chosen, as many as are asked for."""
    x = torch.rand(2, 3, 6, 5, generator=torch.Generator().manual_seed(3))
    gradient = changes(2)
    gradient[0, :, 0, 0] = 0
    rise = torch.stack([gradient * (end - x) for end in (0, 1)]).amax(0).sum(1, keepdim=True)
    torch.testing.assert_close(_worth(gradient, x), rise)
    chosen = _most(rise, 4)
    assert chosen.flatten(1).sum(1).tolist() == [4, 4]
    for values, some in zip(rise, chosen, strict=True):
        assert values[some].min() > values[~some].max()
