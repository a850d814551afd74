"""What ``cvtool stylize`` is given: contents, styles and masks, from words on the command line to pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from cvtool.cli.inputs import Input, one_file, read_input
from cvtool.cli.options import finite
from cvtool.errors import BadInputError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cvtool.images import Picture
    from cvtool.stylize.objective import Region
    from cvtool.stylize.style_files import StyleFile
    from cvtool.stylize.styles import Style

ALL = "all"
"""Instead of a style's mask: all of the style."""


@dataclass(frozen=True)
class MaskPair:
    """One ``--mask``: where in the content, and which part of the style (None: all of it)."""

    content: Input
    style: Input | None

    @property
    def lasting_name(self) -> str:
        """As an option's value that means the same in any folder."""
        return f"{self.content.lasting_name}={ALL if self.style is None else self.style.lasting_name}"


@dataclass(frozen=True)
class Styles:
    """What is read besides the content: styles, masks, and where the picture starts (None: see the options)."""

    files: tuple[Input, ...]
    start: Input | None = None
    masks: tuple[MaskPair, ...] = ()
    mask_from_alpha: bool = False

    @property
    def inputs(self) -> list[Input]:
        """Every file that is read."""
        masks = [file for pair in self.masks for file in (pair.content, pair.style) if file is not None]
        return [*self.files, *([self.start] if self.start is not None else []), *masks]

    @cached_property
    def read(self) -> list[tuple[Picture | StyleFile, str]]:
        """Each style with the sha256 of its file."""
        return [_read_style(file) for file in self.files]

    @cached_property
    def start_picture(self) -> tuple[Picture, str] | None:
        """The picture to start from."""
        return read_input(self.start) if self.start is not None else None

    @cached_property
    def _mask_files(self) -> list[tuple[tuple[Picture, str], tuple[Picture, str] | None]]:
        return [(read_input(p.content), None if p.style is None else read_input(p.style)) for p in self.masks]

    @property
    def _masks(self) -> list[tuple[Picture, Picture | None]]:
        return [(content[0], None if style is None else style[0]) for content, style in self._mask_files]

    @property
    def digests(self) -> list[tuple[Input, str]]:
        """Every file that was read, with its sha256."""
        found = [(file, sha) for file, (_, sha) in zip(self.files, self.read, strict=True)]
        if self.start is not None and self.start_picture is not None:
            found.append((self.start, self.start_picture[1]))
        for pair, files in zip(self.masks, self._mask_files, strict=True):
            both = zip((pair.content, pair.style), files, strict=True)
            found += [(name, file[1]) for name, file in both if name is not None and file is not None]
        return found

    @cached_property
    def pictures(self) -> list[Style]:
        """The styles without the rest of their files, and without transparency."""
        from cvtool.images import Picture, flatten

        return [flatten(style) if isinstance(style, Picture) else style for style, _ in self.read]

    def check(self) -> None:
        """Read everything now, so that something wrong ends the command and not each content by itself.

        Raises:
            BadInputError: something cannot be read, or a mask has not the size of its style.
        """
        _ = self.pictures, self.start_picture
        for number, (pair, (_, style_mask)) in enumerate(zip(self.masks, self._masks, strict=True)):
            index = self._style_of(number)
            for style in self.read if index is None else [self.read[index]]:
                if pair.style is not None and style_mask is not None:
                    _check_size(style_mask, style[0], pair.style.name, "style")

    def regions(self, content: Picture) -> list[Region]:
        """What of a content is painted with what; [] is all with everything.

        Raises:
            BadInputError: a mask has another size, or the content has no transparency to take for one.
        """
        from cvtool.stylize.objective import Region

        if self.mask_from_alpha:
            if content.alpha is None:
                raise BadInputError("The content has no transparency to take for a mask. Give --mask, or leave it out.")
            return [Region(content.alpha)]
        found = []
        for number, (pair, (mask, style_mask)) in enumerate(zip(self.masks, self._masks, strict=True)):
            _check_size(mask, content, pair.content.name, "content")
            part = None if style_mask is None else _plane(style_mask)
            found.append(Region(_plane(mask), self._style_of(number), part))
        return found

    def _style_of(self, number: int) -> int | None:
        """The style that a mask belongs to: with several styles, each has its own."""
        return number if len(self.files) > 1 else None


def contents_and_styles(
    arguments: Sequence[str], style: Sequence[str] | None, alone: bool = False
) -> tuple[Sequence[str], Sequence[str]]:
    """The words that name contents, and those that name styles.

    Args:
        arguments: CONTENT and what follows.
        style: of ``--style``.
        alone: no content is needed.

    Raises:
        UsageError: no style, or no content.
    """
    contents, styles = (arguments, style) if style else (arguments[:1], arguments[1:])
    if not arguments and not (alone and style):
        raise UsageError("A content is missing: cvtool stylize CONTENT STYLE. See --help.")
    if not styles:
        raise UsageError("A style is missing: give at least two pictures, CONTENT STYLE, or --style FILE.")
    return contents, styles


def weights_per_picture(styles: Sequence[Sequence[Input]], weights: Sequence[float]) -> tuple[float, ...]:
    """One weight per style picture; the pictures of a folder share the folder's weight alike.

    Raises:
        UsageError: not one weight per style argument, or one that is not a number other than 0.
    """
    if not weights:
        return ()
    if len(weights) != len(styles):
        raise UsageError(f"--style-weight is given {len(weights)} times for {len(styles)} styles. Give one per style.")
    for weight in weights:
        if finite(weight, "--style-weight") == 0:
            raise UsageError("--style-weight 0 would leave its style out. Leave out both.")
    if sum(weights) <= 0:
        raise UsageError(
            f"The --style-weight add up to {sum(weights):g}: what is taken away must be less than the rest."
        )
    return tuple(weight / len(group) for group, weight in zip(styles, weights, strict=True) for _ in group)


def mask_pairs(arguments: Sequence[str], styles: int) -> tuple[MaskPair, ...]:
    """Each ``CONTENT_MASK=STYLE_MASK`` as its two files.

    Raises:
        UsageError: a mask without a pair, or with several styles not one for each.
    """
    if arguments and styles > 1 and len(arguments) != styles:
        raise UsageError(
            f"--mask is given {len(arguments)} times for {styles} styles. Give one per style, in their order."
        )
    return tuple(_pair(argument) for argument in arguments)


def _pair(argument: str) -> MaskPair:
    splits = [(argument[:i], argument[i + 1 :]) for i, letter in enumerate(argument) if letter == "="]
    splits = [(one, other) for one, other in splits if one and other]
    if not splits:
        raise UsageError(
            f"--mask '{argument}' has no pair. Give CONTENT_MASK=STYLE_MASK, or CONTENT_MASK={ALL} for the whole style."
        )
    # Names may hold '=' themselves: the split whose first part is there.
    content, style = next((split for split in splits if Path(split[0]).exists()), splits[0])
    return MaskPair(one_file(content, "--mask"), None if style == ALL else one_file(style, "--mask"))


def _read_style(given: Input) -> tuple[Picture | StyleFile, str]:
    if given.path is None or given.path.suffix.lower() != ".safetensors":
        return read_input(given)
    from cvtool.files import read_input as read_bytes
    from cvtool.stylize.style_files import read_style

    return read_style(given.path), sha256(read_bytes(given.path)).hexdigest()


def _check_size(mask: Picture, other: Picture | StyleFile, name: str, what: str) -> None:
    from cvtool.images import Picture

    if not isinstance(other, Picture) or mask.pixels.shape == other.pixels.shape:
        return
    (h, w), (height, width) = mask.pixels.shape[:2], other.pixels.shape[:2]
    raise BadInputError(
        f"Mask '{name}' has {w}×{h} pixels, but its {what} has {width}×{height}. Make them the same size."
    )


def _plane(mask: Picture) -> NDArray[np.float32]:
    """How white each pixel of a mask is; what is transparent counts as black."""
    from cvtool.stylize.color import luminance

    plane = luminance(mask.pixels)
    return plane if mask.alpha is None else plane * mask.alpha
