"""Colours for numbers: perceptually even maps, so that equal steps look equal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Every eighth colour of matplotlib's maps, which are in the public domain (CC0): "inferno" by van der Walt and
# Smith for what has no sign, "coolwarm" by Moreland for what has one. In between, colours are mixed; no channel is off
# by more than five levels of 255.
_ANCHORS = {
    "inferno": (
        "000004 040312 0b0724 150b37 210c4a 2f0a5b 3d0965 4a0c6b 57106e 64156e 71196e "
        "7d1e6d 8a226a 972766 a32c61 b0315b bc3754 c73e4c d24644 db503b e45a31 eb6628 "
        "f1731d f68013 f98e09 fb9d07 fcac11 fbbc21 f9cb35 f5db4c f2ea69 f3f68a fcffa4"
    ),
    "coolwarm": (
        "3b4cc0 445acc 4e68d8 5875e1 6282ea 6c8ff1 779af7 82a6fb 8db0fe 98b9ff a3c2fe "
        "aec9fc b9d0f9 c3d5f4 ccd9ed d5dbe5 dddcdc e5d8d1 ecd3c5 f1ccb8 f5c4ac f7ba9f "
        "f7b093 f6a586 f4987a f08b6e eb7d62 e46e56 dd5f4b d44e41 ca3b37 be242e b40426"
    ),
}


def colored(name: str, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values (H, W) in [0, 1] (clipped) → colours (H, W, 3) float32 in [0, 1] of the map called `name`."""
    anchors = np.array([list(bytes.fromhex(code)) for code in _ANCHORS[name].split()]) / 255
    places = np.linspace(0, 1, len(anchors))
    return np.stack([np.interp(values, places, channel) for channel in anchors.T], axis=-1).astype(np.float32)
