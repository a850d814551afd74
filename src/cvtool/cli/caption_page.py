"""What a run of ``cvtool caption train`` shows: some development pictures with their captions, and its page."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from cvtool.caption.run_report import CAPTIONS, WORDLESS, page
from cvtool.cli.run_sheets import Sheets, write_report
from cvtool.errors import CvtoolError
from cvtool.grids import captioned
from cvtool.images import encode_picture, fit_longer_side, flatten, read_picture, resize

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray

    from cvtool.caption.datasets import CaptionedPicture
    from cvtool.training import RunDirectory

SHOWN, COLUMNS, CELL = 6, 3, 256


def sheets_of(run: Path) -> Sheets:
    """The sheets of a run's epochs."""
    return Sheets(run, "epoch-{:03d}.png")


class Showing:
    """A run's samples/ and report.html.

    Args:
        run: in whose directory they are.
        development: pictures; some are shown, the same in every epoch. None is, of a set that has only features.
        command: that repeats the run.
        title: of the page.
    """

    def __init__(self, run: RunDirectory, development: Sequence[CaptionedPicture], command: str, title: str) -> None:
        self._run, self._command, self._title = run, command, title
        self._sheets = sheets_of(run.path)
        self._pictures = _thumbnails(development)

    def said(self, captions: Mapping[str, str]) -> dict[str, Any]:
        """What the record of an epoch keeps of its captions."""
        found = {name: captions[name] for name in self._pictures}
        return {CAPTIONS: found} if found else {}

    def draw(self, epoch: int, captions: Mapping[str, str], note: str) -> None:
        """The pictures with the captions of an epoch as samples/epoch-NNN.png; `note` says what made them.

        Raises:
            CvtoolError: it cannot be written.
        """
        cells = [(captions[name] or WORDLESS, picture) for name, picture in self._pictures.items()]
        if cells:
            self._sheets.write(epoch, encode_picture(captioned(cells, COLUMNS, CELL), "png", note=note))

    def write(self) -> None:
        """The run so far as report.html.

        Raises:
            CvtoolError: it cannot be written.
        """
        records = self._run.records()
        sheets = self._sheets.shown(records, "epoch")
        config = self._run.read_config()
        write_report(self._run.path, page(config, records, sheets, command=self._command, title=self._title))


def _thumbnails(pictures: Sequence[CaptionedPicture]) -> dict[str, NDArray[np.float32]]:
    """Name → pixels, of some pictures evenly from all; one that cannot be read gives way to the next."""
    there = [each for each in pictures if each.path is not None]
    found: dict[str, NDArray[np.float32]] = {}
    for place in range(min(SHOWN, len(there))):
        start, end = (len(there) * i // min(SHOWN, len(there)) for i in (place, place + 1))
        for each in there[start : min(end, start + SHOWN)]:
            with suppress(CvtoolError):
                assert each.path is not None
                pixels = flatten(read_picture(each.path))
                found[each.name] = resize(pixels, *fit_longer_side(pixels.shape[0], pixels.shape[1], CELL))
                break
    return found
