"""``cvtool stylize --keep-profile`` and ``--bits auto``: the result in the colours and the depth of its content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cvtool.cli.options import Format
from cvtool.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cvtool.images import Picture
    from cvtool.stylize.styles import Style


@dataclass(eq=False)
class InProfile:
    """Styles and the picture to start from, in the RGB of whatever profile a content keeps.

    Attributes:
        styles: in sRGB, as they were read.
        start: (H, W, 3) in sRGB, or None.
    """

    styles: Sequence[Style]
    start: NDArray[np.float32] | None = None
    _profile: bytes | None = None
    _converted: tuple[list[Style], NDArray[np.float32] | None] | None = None

    def of(self, content: Picture) -> tuple[list[Style], NDArray[np.float32] | None]:
        """Styles and start as they belong to a content; contents of one folder mostly share a profile.

        Raises:
            UsageError: a style file, whose colours are those of sRGB, and a content that keeps another profile.
        """
        if content.profile is None:
            return list(self.styles), self.start
        if self._converted is None or content.profile != self._profile:
            self._profile, self._converted = content.profile, self._convert(content.profile)
        return self._converted

    def _convert(self, profile: bytes) -> tuple[list[Style], NDArray[np.float32] | None]:
        from cvtool.images import srgb_to_profile
        from cvtool.stylize.style_files import StyleFile

        converted: list[Style] = []
        for style in self.styles:
            if isinstance(style, StyleFile):
                raise UsageError(
                    "A style file has the colours of sRGB, so it does not go with --keep-profile. "
                    "Give the style as a picture, or leave --keep-profile out."
                )
            converted.append(srgb_to_profile(style, profile))
        return converted, None if self.start is None else srgb_to_profile(self.start, profile)


def bits_for(bits: int | None, content: Picture, format: Format) -> int:
    """Bits per channel of a result: those asked for, or (None) the content's where the format can hold them."""
    from cvtool.images import DEEP_FORMATS

    if bits is not None:
        return bits
    return content.bits if format.value in DEEP_FORMATS else 8
