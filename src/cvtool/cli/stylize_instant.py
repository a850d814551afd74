"""The work behind ``cvtool stylize --instant`` and ``--init instant``: one painter for all contents of a command."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from cvtool.stylize.instant.service import InstantPainter
    from cvtool.stylize.options import StylizeOptions
    from cvtool.stylize.service import StylizeResult
    from cvtool.stylize.styles import Style


@dataclass(frozen=True)
class Instant:
    """Paints in one pass.

    Attributes:
        painter: file for ``--painter``; None for the one that comes with the install.
        device: as ``--device`` takes it.
    """

    painter: Path | None
    device: str

    @cached_property
    def loaded(self) -> InstantPainter:
        """Of a single content, loaded when that has been read, so that a wrong path is told at once."""
        from cvtool.stylize.instant.service import load_painter

        return load_painter(self.painter, self.device)

    def paint(self, content: NDArray[np.float32], styles: Sequence[Style], options: StylizeOptions) -> StylizeResult:
        """As `cvtool.stylize.service.stylize`, in no steps; what an optimiser would have measured is not a number."""
        from cvtool.stylize.service import StylizeResult

        found = self.loaded.paint(content, styles, options)
        height, width = found.pixels.shape[:2]
        nan = float("nan")
        return StylizeResult(found.pixels, found.options, ((height, width, 0),), nan, nan, nan, "steps", found.seconds)
