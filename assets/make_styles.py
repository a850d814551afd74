"""Paint the style pictures in `assets/styles`. Everything is drawn by the code in `assets/art` from a fixed seed.

python assets/make_styles.py [--only NAME] [-o DIR]
"""

from __future__ import annotations

import argparse
import time
import zlib
from importlib import import_module
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
STYLES = ("flow_strokes", "stained_glass", "marbling", "woodblock", "mosaic", "watercolor", "ink_wash")
SEED = 231
QUALITY = 89  # JPEG quality: below 400 kB a picture, no visible blocks in the texture


def paint(name: str) -> Image.Image:
    """The style picture `name` as an RGB image; the same on every call."""
    rng = np.random.default_rng([SEED, zlib.crc32(name.encode())])
    picture = import_module(f"art.{name}").paint(rng)
    return Image.fromarray(np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8))


def main() -> None:
    """Read the command line and write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=STYLES, action="append", help="paint this one (may be given again)")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "styles", metavar="DIR", help="where to write")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    for name in options.only or STYLES:
        start = time.perf_counter()
        path = options.output / f"{name}.jpg"
        paint(name).save(path, quality=QUALITY, optimize=True, progressive=True)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB, {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
