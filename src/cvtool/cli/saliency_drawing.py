"""The picture that ``cvtool saliency`` makes of what was found."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cvtool.cli.reporting import Report, Shown
from cvtool.cli.saliency_report import ALL, Answer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cvtool.saliency.service import Explanation
    from cvtool.saliency.views import Scale

    ScaleOf = Callable[[Explanation], Scale]


def draw(pixels: NDArray[np.float32], answer: Answer, kind: str, scale_of: ScaleOf) -> NDArray[np.float32]:
    """One picture of the kind that ``--view`` names; of ``all`` the sheet."""
    from cvtool.saliency import views

    if answer.name == ALL:
        return _sheet(pixels, answer, scale_of)
    (explanation,) = answer.explanations
    scale, map = scale_of(explanation), explanation.map
    if kind == "heatmap":
        return views.heatmap(map, scale)
    if kind == "overlay":
        return views.overlay(pixels, map, scale)
    if kind == "masked":
        return views.masked(pixels, map, scale)
    likeliest = ", ".join(f"{each.name} {each.probability:.0%}" for each in explanation.predictions[:2])
    question = explanation.target.name
    question += f" and not {explanation.contrast.name}" if explanation.contrast is not None else ""
    return views.panel(pixels, map, scale, [likeliest, explanation.method.value, f"why {question}?"])


def _sheet(pixels: NDArray[np.float32], answer: Answer, scale_of: ScaleOf) -> NDArray[np.float32]:
    """All methods' overlays, five a row, after the picture."""
    from cvtool.grids import sheet
    from cvtool.saliency import views

    target = answer.explanations[0].target
    cells = [(f"{target.name} {target.probability:.0%}", pixels)]
    for each in answer.explanations:
        cells.append((each.method.value, views.overlay(pixels, each.map, scale_of(each))))
    return sheet(cells)


def show(
    report: Report,
    name: str,
    pictures: tuple[NDArray[np.float32], NDArray[np.float32]],
    answer: Answer,
    command: str,
    scale_of: ScaleOf,
) -> None:
    """Put a picture under its map on the page; of ``all`` the sheet.

    Args:
        report: the page.
        name: of the picture.
        pictures: as read, and as drawn.
        answer: what was found.
        command: the line that makes it again.
        scale_of: the colour scale of a map.
    """
    from cvtool.saliency import views

    (pixels, drawn), first = pictures, answer.explanations[0]
    lead = f"Why {first.target.name} ({first.target.probability:.1%})?"
    if answer.name == ALL:
        report.show(Shown("All methods", f"Maps of {name}", drawn), command=command, lead=lead)
        return
    scale, said = scale_of(first), f"Map of {first.method.value}: bright or red speaks for the class"
    report.show(
        Shown("Map", said, views.heatmap(first.map, scale)),
        pair=[
            Shown("Picture", f"The picture {name}", pixels),
            Shown("Overlay", f"{name} in grey under its map", views.overlay(pixels, first.map, scale)),
        ],
        command=command,
        lead=lead,
    )
