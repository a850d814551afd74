"""OKLab against its author's table of known answers, and the curve of sRGB against its standard."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvtool import colorspaces
from cvtool.codecs.color_profiles import SRGB_TO_XYZ_D50

UNIT = st.floats(0, 1, width=32)


def srgb_from_oklab(oklab: np.ndarray) -> np.ndarray:
    return colorspaces.srgb_from_linear(colorspaces.linear_from_oklab(oklab))


BRADFORD_D50_TO_D65 = np.array(
    [[0.9555766, -0.0230393, 0.0631636], [-0.0282895, 1.0099416, 0.0210077], [0.0122982, -0.0204830, 1.3299098]]
)


@pytest.mark.parametrize(
    ("xyz", "oklab"),
    [  # the table in Ottosson's article: XYZ at D65 → L, a, b, to three places
        ((0.950, 1.000, 1.089), (1.000, 0.000, 0.000)),
        ((1.000, 0.000, 0.000), (0.450, 1.236, -0.019)),
        ((0.000, 1.000, 0.000), (0.922, -0.671, 0.263)),
        ((0.000, 0.000, 1.000), (0.153, -1.415, -0.449)),
    ],
)
def test_the_authors_table(xyz: tuple[float, ...], oklab: tuple[float, ...]) -> None:
    linear = np.linalg.solve(BRADFORD_D50_TO_D65 @ SRGB_TO_XYZ_D50, np.array(xyz))
    found = colorspaces.oklab_from_srgb(colorspaces.srgb_from_linear(linear))
    np.testing.assert_allclose(found, oklab, atol=2e-3)


@pytest.mark.parametrize(
    ("srgb", "oklab"),
    [  # CSS Color 4 lists the same numbers for red, lime, blue and white
        ((1, 0, 0), (0.627955, 0.224863, 0.125846)),
        ((0, 1, 0), (0.866440, -0.233888, 0.179498)),
        ((0, 0, 1), (0.452014, -0.032457, -0.311528)),
        ((1, 1, 1), (1.0, 0.0, 0.0)),
        ((0, 0, 0), (0.0, 0.0, 0.0)),
    ],
)
def test_primaries(srgb: tuple[float, ...], oklab: tuple[float, ...]) -> None:
    np.testing.assert_allclose(colorspaces.oklab_from_srgb(np.array(srgb, float)), oklab, atol=2e-6)
    np.testing.assert_allclose(srgb_from_oklab(np.array(oklab)), srgb, atol=2e-4)


def test_the_curve_of_srgb() -> None:
    """Its two pieces meet; half the code value is 21.4 % of the light; outside [0, 1] it goes on."""
    values = colorspaces.linear_from_srgb(np.array([0.0, 0.04045, 0.5, 1.0, -0.5, 1.2]))
    np.testing.assert_allclose(values[:4], [0, 0.04045 / 12.92, 0.21404114, 1], atol=2e-8)
    assert values[4] == -values[2]
    assert values[5] > 1


@given(st.tuples(UNIT, UNIT, UNIT))
def test_there_and_back(color: tuple[float, float, float]) -> None:
    given_color = np.array(color)
    back = srgb_from_oklab(colorspaces.oklab_from_srgb(given_color))
    np.testing.assert_allclose(back, given_color, atol=1e-6)
    linear = colorspaces.linear_from_srgb(given_color)
    np.testing.assert_allclose(colorspaces.srgb_from_linear(linear), given_color, atol=1e-9)


@given(UNIT)
def test_greys_have_no_chroma(level: float) -> None:
    oklab = colorspaces.oklab_from_srgb(np.full(3, level))
    np.testing.assert_allclose(oklab[1:], 0, atol=1e-7)
    np.testing.assert_allclose(colorspaces.grey_of(oklab[0]), level, atol=1e-6)
