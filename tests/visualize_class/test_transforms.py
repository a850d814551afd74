"""Views against torchvision's rotations, crops and flips."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as V

from cvtool.visualize_class.transforms import Place, draw_place, noisy, shift_of, shifted, view


@pytest.fixture
def picture() -> torch.Tensor:
    return torch.rand((2, 3, 48, 48), generator=torch.Generator().manual_seed(0))


def inner(x: torch.Tensor, margin: int) -> torch.Tensor:
    return x[..., margin:-margin, margin:-margin]


def test_the_whole_is_the_picture(picture: torch.Tensor) -> None:
    torch.testing.assert_close(view(picture, Place(1.0, 0.0, 0.0, 0.0), 48), picture, atol=1e-5, rtol=0)


@pytest.mark.parametrize("angle", [15.0, -7.5, 90.0])
def test_turned_like_torchvision(picture: torch.Tensor, angle: float) -> None:
    ours = view(picture, Place(1.0, 0.0, 0.0, angle), 48)
    theirs = V.rotate(picture, angle, interpolation=InterpolationMode.BILINEAR)
    torch.testing.assert_close(inner(ours, 12), inner(theirs, 12), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("x", "y", "top", "left"), [(-1, -1, 0, 0), (1, -1, 0, 24), (-1, 1, 24, 0), (1, 1, 24, 24), (0, 0, 12, 12)]
)
def test_cropped_like_torchvision(picture: torch.Tensor, x: float, y: float, top: int, left: int) -> None:
    ours = view(picture, Place(0.5, x, y, 0.0), 36)
    theirs = V.resized_crop(picture, top, left, 24, 24, [36, 36], antialias=False)
    torch.testing.assert_close(inner(ours, 2), inner(theirs, 2), atol=1e-5, rtol=0)


def test_a_wide_picture_is_seen_square_and_undistorted() -> None:
    wide = torch.rand((1, 3, 20, 60), generator=torch.Generator().manual_seed(0))
    right = view(wide, Place(1.0, 1.0, 0.0, 0.0), 20)
    torch.testing.assert_close(right, wide[..., 40:], atol=1e-5, rtol=0)
    turned = view(wide, Place(1.0, 0.0, 0.0, 90.0), 20)
    torch.testing.assert_close(turned, wide[..., 20:40].rot90(1, (2, 3)), atol=1e-5, rtol=0)


def test_mirrored(picture: torch.Tensor) -> None:
    ours = view(picture, Place(1.0, 0.0, 0.0, 0.0, mirrored=True), 48)
    torch.testing.assert_close(ours, V.hflip(picture), atol=1e-5, rtol=0)


def test_fine_detail_is_averaged_and_not_skipped() -> None:
    checks = torch.zeros(1, 3, 64, 64)
    checks[..., ::2, ::2] = checks[..., 1::2, 1::2] = 1
    seen = view(checks, Place(1.0, 0.0, 0.0, 0.0), 16)
    torch.testing.assert_close(seen, torch.full_like(seen, 0.5))


def test_places_lie_within_what_was_asked_for() -> None:
    generator = torch.Generator().manual_seed(0)
    places = [draw_place(generator, smallest=0.3, largest=0.8, rotate=15, mirror=True) for _ in range(400)]
    assert all(0.3 <= p.share <= 0.8 and abs(p.x) <= 1 and abs(p.y) <= 1 and abs(p.angle) <= 15 for p in places)
    assert 0.45 < sum(p.share for p in places) / 400 < 0.65
    assert 0.4 < sum(p.mirrored for p in places) / 400 < 0.6
    assert min(p.angle for p in places) < -13 < 13 < max(p.angle for p in places)


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (2, 3, 7, 5)])
def test_shifts_are_undone_exactly(shape: tuple[int, ...]) -> None:
    x, generator = torch.rand(shape), torch.Generator().manual_seed(0)
    seen = set()
    for _ in range(50):
        down, right = by = shift_of(3, generator)
        seen |= {down, right}
        moved = shifted(x, by)
        assert moved[0, 0, down, right] == x[0, 0, 0, 0]
        assert torch.equal(shifted(moved, (-down, -right)), x)
    assert seen == {0, 1, 2, 3}


def test_noise_is_the_same_for_all_pictures() -> None:
    x = torch.zeros(3, 3, 40, 40)
    found = noisy(x, 0.2, torch.Generator().manual_seed(0))
    assert torch.equal(found[0], found[2])
    assert found.std() == pytest.approx(0.2, rel=0.05)
    assert noisy(x, 0.0, torch.Generator()) is x
