"""``cvtool fool --explain``: what the network looks at, before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cvtool.fool.options import FoolOptions
    from cvtool.models.loader import Model


def explained(
    before: NDArray[np.float32], after: NDArray[np.float32], model: Model, any_size: bool, options: FoolOptions
) -> NDArray[np.float32]:
    """Two pictures (H, W, 3) → their Grad-CAMs for the class that is seen in each, side by side under its name."""
    from cvtool.grids import strip
    from cvtool.saliency.options import Method, SaliencyOptions
    from cvtool.saliency.service import Explainer, explain
    from cvtool.saliency.views import overlay, scale_of

    how = SaliencyOptions(method=Method.grad_cam, resize=options.resize, seed=options.seed)
    found = explain([before, after], Explainer(model, any_size), how)
    drawn = [
        overlay(pixels, each.map, scale_of([each.map], each.signed))
        for pixels, each in zip((before, after), found, strict=True)
    ]
    labels = [f"why {each.target.name}?" for each in found]
    return strip(drawn, labels)
