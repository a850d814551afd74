"""The picture that ``cvtool saliency`` makes of what was found."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

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
