"""What a run shows of itself in its directory: pictures in ``samples/``, and the page that has them all."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cvtool.cli.outputs import make_folder
from cvtool.errors import CvtoolError
from cvtool.files import remove, write_atomically
from cvtool.images import read_picture
from cvtool.pages import encoded, preview
from cvtool.run_files import REPORT, SAMPLES
from cvtool.run_pages import Record, thinned

if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST = 1200
"""Longer side of a sheet on the page, in pixels."""
HIGHEST = 10**12
"""Number of a step or epoch that is believed."""


@dataclass
class Sheets:
    """The pictures of a run.

    Attributes:
        run: its directory.
        name: of their files: a format for the number of the step or epoch.
    """

    run: Path
    name: str
    _shown: dict[int, str] = field(default_factory=dict)

    def file(self, number: int) -> Path:
        """That of a step or epoch."""
        return self.run / SAMPLES / self.name.format(number)

    def write(self, number: int, png: bytes) -> None:
        """Keep the picture of a step or epoch.

        Raises:
            CvtoolError: it cannot be written.
        """
        make_folder(self.run / SAMPLES)
        write_atomically(self.file(number), png)
        self._shown.pop(number, None)

    def clear(self) -> None:
        """Remove pictures and page of a run that is started again."""
        every = self.name[: self.name.index("{")] + "*" + self.name[self.name.index("}") + 1 :]
        for path in [*(self.run / SAMPLES).glob(every), self.run / REPORT]:
            remove(path)

    def shown(self, records: Sequence[Record], by: str) -> list[tuple[int, str]]:
        """Number and URL of previews of the pictures of these records, as many as a page has.

        Each is made once in the life of a process, so that a page a step or epoch costs little. What is missing or
        broken is left out.
        """
        numbers = [each.get(by) for each in records]
        there = thinned([n for n in numbers if isinstance(n, int) and 0 < n <= HIGHEST and self.file(n).exists()])
        return [(number, url) for number in there if (url := self._url(number))]

    def _url(self, number: int) -> str:
        """Of a preview; empty where the file is no picture."""
        if number not in self._shown:
            self._shown[number] = ""
            with suppress(CvtoolError):
                self._shown[number] = preview(read_picture(self.file(number)).pixels, LONGEST)
        return self._shown[number]


def write_report(run: Path, page: str) -> None:
    """The page as the run's report.html.

    Raises:
        CvtoolError: it cannot be written.
    """
    write_atomically(run / REPORT, encoded(page))
