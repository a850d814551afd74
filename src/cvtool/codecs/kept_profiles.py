"""Pictures that keep their ICC profile: pixels stay in the profile's own RGB, and what joins them is brought there.

Nothing is converted on the way in or out, so no colour is lost: what sRGB does not have stays as it was. Pictures from
elsewhere (sRGB) are converted by relative colorimetry: in floating point for profiles of a matrix and curves, at 8 bits
by LittleCMS, with black point compensation, for profiles of tables.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from cvtool.codecs.color_profiles import (
    ROWS,
    SRGB_TO_XYZ_D50,
    UNUSABLE,
    Curve,
    matrix_and_curves,
    opened,
    space_of,
    srgb_profile,
)
from cvtool.codecs.rasters import Pixels, to_levels, unit
from cvtool.colorspaces import linear_from_srgb

CURVE_POINTS = 65537
"""A tone curve is turned round on so many points, finer than 16 bits."""

LEVELS = np.array([[[0, 0, 0], [255, 255, 255]]], dtype=np.uint8)


def why_not_kept(profile: bytes) -> str:
    """Why pixels cannot stay in the colours of this profile, in a few words; "" if they can."""
    try:
        space = space_of(profile)
        if space != "RGB":
            return f"it is for {space} and the result is RGB"
        srgb_to_profile(unit(LEVELS), profile)
    except UNUSABLE:
        return "it is broken, or leads from its colours but not back"
    return ""


def srgb_to_profile(pixels: Pixels, profile: bytes) -> Pixels:
    """sRGB (H, W, 3) float32 in [0, 1] → the same colours in a profile's RGB; clipped where that has no such colour.

    Raises:
        one of `color_profiles.UNUSABLE`: see `why_not_kept`.
    """
    parts = matrix_and_curves(profile)
    if parts is None:
        return _by_littlecms(pixels, profile)
    to_xyz, curves = parts
    from_srgb = np.linalg.solve(to_xyz, SRGB_TO_XYZ_D50)
    inverses = [_inverse(curve) for curve in curves]
    result = np.empty_like(pixels)
    for top in range(0, len(pixels), ROWS):
        linear = np.clip(linear_from_srgb(pixels[top : top + ROWS]) @ from_srgb.T, 0, 1)
        for channel, inverse in enumerate(inverses):
            result[top : top + ROWS, :, channel] = inverse(linear[..., channel])
    return result


def _inverse(curve: Curve) -> Curve:
    values = np.linspace(0, 1, CURVE_POINTS)
    light: NDArray[np.float64] = np.asarray(curve(values), dtype=np.float64)
    if not np.isfinite(light).all() or (np.diff(light) < 0).any() or light[-1] <= light[0]:
        raise ValueError("a tone curve falls, or is flat")
    return lambda linear: np.interp(linear, light, values)


def _by_littlecms(pixels: Pixels, profile: bytes) -> Pixels:
    levels = Image.fromarray(to_levels(pixels))
    intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
    there = ImageCms.profileToProfile(levels, srgb_profile(), opened(profile), intent, outputMode="RGB", flags=flags)
    if there is None:
        raise ValueError("no transform")
    return unit(np.asarray(there))
