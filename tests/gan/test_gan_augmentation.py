"""Augmentation against a plain restatement of the paper's formulas, picture by picture."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch

from cvtool.errors import UnknownNameError
from cvtool.gan import augmentation
from cvtool.gan.augmentation import POLICIES, augment, instance_noise

SUBSETS = [frozenset(names) for count in range(len(POLICIES) + 1) for names in combinations(POLICIES, count)]
SIZES = [(1, 28, 28), (3, 32, 32), (3, 37, 20), (1, 1, 1)]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(count, shape, seed=0):
    return 2 * torch.rand(count, *shape, generator=seeded(seed)) - 1


def restated(picture, policy, chances):
    """One picture (C, H, W) float64 and its eight chances → what the paper does, one step after the other."""
    brightness, saturation, contrast, down, right, hole_y, hole_x, flip = chances
    x = picture.copy()
    _, h, w = x.shape
    if "flip" in policy and flip < 0.5:
        x = x[:, :, ::-1]
    if "color" in policy:
        x = x + (brightness - 0.5)
        grey = np.mean(x, axis=0)
        x = (x - grey) * (2 * saturation) + grey
        x = (x - np.mean(x)) * (contrast + 0.5) + np.mean(x)
    if "translation" in policy:
        reach_y, reach_x = round_half_up(h / 8), round_half_up(w / 8)
        dy = math.floor(down * (2 * reach_y + 1)) - reach_y
        dx = math.floor(right * (2 * reach_x + 1)) - reach_x
        moved = np.zeros_like(x)
        for row in range(h):
            for column in range(w):
                if 0 <= row - dy < h and 0 <= column - dx < w:
                    moved[:, row, column] = x[:, row - dy, column - dx]
        x = moved
    if "cutout" in policy:
        hole_h, hole_w = round_half_up(h / 2), round_half_up(w / 2)
        # An even hole's centre is an edge between pixels, of which there are h + 1; an odd one's is a pixel.
        top = math.floor(hole_y * (h if hole_h % 2 else h + 1)) - hole_h // 2
        left = math.floor(hole_x * (w if hole_w % 2 else w + 1)) - hole_w // 2
        x = x.copy()
        x[:, max(top, 0) : max(top + hole_h, 0), max(left, 0) : max(left + hole_w, 0)] = 0
    return x


def round_half_up(number):
    return math.floor(number + 0.5)


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("policy", SUBSETS, ids=lambda policy: "+".join(sorted(policy)) or "nothing")
def test_restatement(policy, shape):
    x = pictures(12, shape).double()
    chances = torch.rand(8, 12, generator=seeded(7)).numpy()
    found = augment(x, policy, seeded(7))
    expected = [restated(picture, policy, chances[:, i]) for i, picture in enumerate(x.numpy())]
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, expected, atol=2e-7)


def test_nothing_is_done_without_a_policy():
    x = pictures(2, (3, 8, 8))
    assert augment(x, frozenset(), seeded()) is x


def test_unknown_name():
    with pytest.raises(UnknownNameError, match=r"No augmentation 'colour'. Nearest: color"):
        augment(pictures(2, (3, 8, 8)), frozenset({"colour"}), seeded())


def test_seeds():
    x, policy = pictures(4, (3, 16, 16)), frozenset(POLICIES)
    assert torch.equal(augment(x, policy, seeded(1)), augment(x, policy, seeded(1)))
    assert not torch.equal(augment(x, policy, seeded(1)), augment(x, policy, seeded(2)))
    generator = seeded(1)
    assert not torch.equal(augment(x, policy, generator), augment(x, policy, generator))


def test_the_policy_does_not_change_what_is_drawn():
    """After any policy but none the generator is at the same place."""
    x = pictures(4, (3, 16, 16))
    states = set()
    for policy in SUBSETS[1:]:
        generator = seeded()
        augment(x, policy, generator)
        states.add(generator.get_state().numpy().tobytes())
    assert len(states) == 1


@pytest.mark.parametrize(("side", "reach"), [(28, 4), (32, 4), (37, 5), (64, 8)])
def test_all_shifts_are_equally_likely(side, reach):
    """A single bright pixel in the middle shows where its picture went."""
    count = 4000
    x = torch.zeros(count, 1, side, side)
    x[:, :, side // 2, side // 2] = 1
    found = augment(x, frozenset({"translation"}), seeded(3)).flatten(1).argmax(1).numpy()
    for offset in (found // side - side // 2, found % side - side // 2):
        values, counts = np.unique(offset, return_counts=True)
        np.testing.assert_array_equal(values, np.arange(-reach, reach + 1))
        # χ² over its mean and six deviations
        expected = count / len(values)
        assert np.sum((counts - expected) ** 2 / expected) < 2 * reach + 6 * math.sqrt(4 * reach)


def test_the_hole_can_be_everywhere():
    """It reaches every pixel, how often can be counted: for each direction there are 33 places for its middle."""
    kept = augment(torch.ones(6000, 1, 32, 32), frozenset({"cutout"}), seeded(4))
    cut = 1 - kept.mean((0, 1))
    assert set(kept.unique().tolist()) == {0.0, 1.0}
    assert cut[16, 16].item() == pytest.approx((16 / 33) ** 2, abs=0.03)  # 16 of them cover the middle row
    assert cut[0, 0].item() == pytest.approx((9 / 33) ** 2, abs=0.02)  # and 9 the first


def test_half_of_the_pictures_are_mirrored():
    x = pictures(2000, (1, 2, 3))
    found = augment(x, frozenset({"flip"}), seeded(5))
    mirrored = (found == x.flip(-1)).flatten(1).all(1)
    assert bool((mirrored | (found == x).flatten(1).all(1)).all())
    assert mirrored.float().mean().item() == pytest.approx(0.5, abs=0.06)


def test_colors_have_the_papers_ranges():
    """A picture of two colours: its mean moves by ± ½, its spread is multiplied by ½ to 3/2, its colour by 0 to 2."""
    count = 4000
    x = torch.tensor([[0.5, 0.1], [0.1, 0.1], [0.0, -0.5]]).reshape(1, 3, 1, 2).expand(count, -1, -1, -1)
    found = augment(x, frozenset({"color"}), seeded(6))
    moved = found.mean((1, 2, 3)) - x.mean((1, 2, 3))
    spread = np.diff(found.mean(1)[:, 0]) / np.diff(x.mean(1)[:, 0])
    color = (found[:, 0, 0, 0] - found[:, 2, 0, 0]) / 0.5 / torch.from_numpy(spread[:, 0])
    for values, low, high in ((moved, -0.5, 0.5), (torch.from_numpy(spread), 0.5, 1.5), (color, 0, 2)):
        assert low - 1e-5 <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high + 1e-5
        assert values.mean().item() == pytest.approx((low + high) / 2, abs=0.03 * (high - low))


def test_gradients_of_first_and_second_order():
    """What the generator learns through, and what a penalty behind the augmentation needs, numerically."""
    x = pictures(2, (3, 9, 8)).double().requires_grad_()
    policy = frozenset(POLICIES)

    def changed(x):
        return augment(x, policy, seeded(8)).square()

    assert torch.autograd.gradcheck(changed, x, fast_mode=True)
    assert torch.autograd.gradgradcheck(changed, x, fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_types_and_layouts(dtype, layout):
    """The same chances for all, also under autocast; only the last digit differs."""
    x = pictures(4, (3, 16, 12)).to(dtype)
    exact = augment(x.double(), frozenset(POLICIES), seeded(9))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = augment(x.to(memory_format=layout), frozenset(POLICIES), seeded(9))
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), exact, atol=2 * torch.finfo(dtype).eps, rtol=0)


def test_one_draw_serves_a_picture_not_the_batch():
    x = pictures(1, (3, 16, 16)).expand(16, -1, -1, -1)
    found = augment(x, frozenset(POLICIES), seeded(10))
    assert len({picture.numpy().tobytes() for picture in found}) == 16


def test_rounding_never_leaves_the_range():
    """The largest number below 1 that torch draws, for every side that can be asked for."""
    largest = torch.full((1,), 1 - 2.0**-24)
    for side in range(1, 300):
        x = torch.ones(1, 1, side, 1)
        moved = augmentation.translated(x, largest, largest)
        assert int(moved.sum()) == side - round_half_up(side / 8)
        hole = augmentation.cut_out(x, largest, torch.full((1,), 0.5))
        assert 0 < side - int(hole.sum()) <= round_half_up(side / 2)


def test_instance_noise():
    x = torch.full((50, 3, 16, 16), 0.25)
    noise = instance_noise(x, 0.2, seeded()) - x
    assert noise.std().item() == pytest.approx(0.2, rel=0.02)
    assert abs(noise.mean().item()) < 0.005
    assert torch.equal(instance_noise(x, 0.2, seeded()), x + noise)
    assert instance_noise(x, 0.0, seeded()) is x


@pytest.mark.gpu
def test_the_same_on_a_gpu():
    x = pictures(16, (3, 32, 32))
    for change in (
        lambda x: augment(x, frozenset(POLICIES), seeded(11)),
        lambda x: instance_noise(x, 0.1, seeded(11)),
    ):
        torch.testing.assert_close(change(x.cuda()).cpu(), change(x), atol=1e-6, rtol=0)
