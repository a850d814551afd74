"""The maps of ``cvtool saliency`` as they are, in a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from cvtool import __version__
from cvtool.cli.outputs import make_folder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cvtool.saliency.service import Explanation


@dataclass(eq=False)
class Raw:
    """Collects maps as they are, for a ``.npy`` or ``.h5`` file."""

    path: Path
    SUFFIXES: ClassVar[tuple[str, ...]] = (".npy", ".h5")
    _kept: list[tuple[str, NDArray[np.float32], Explanation]] = field(default_factory=list)

    def add(self, name: str, pixels: NDArray[np.float32], explanation: Explanation) -> None:
        """Keep a map and what it is of."""
        self._kept.append((name, pixels, explanation))

    def write(self) -> None:
        """Write the file whole, if there is anything to write."""
        import numpy as np

        from cvtool.files import atomic_path

        if not self._kept:
            return
        make_folder(self.path.parent)
        with atomic_path(self.path) as temporary:
            if self.path.suffix.lower() == ".npy":
                np.save(temporary, self._kept[0][2].map, allow_pickle=False)
            else:
                self._write_h5(temporary)

    def _write_h5(self, path: Path) -> None:
        """``maps`` (N, H, W) and ``inputs`` (N, H, W, 3); pictures of several sizes get a group each."""
        import h5py
        import numpy as np

        with h5py.File(path, "w", track_order=True) as file:
            file.attrs.update(command="saliency", version=__version__)
            one_size = len({each.map.shape for _, _, each in self._kept}) == 1
            groups = [self._kept] if one_size else [[each] for each in self._kept]
            for number, kept in enumerate(groups):
                place = file if one_size else file.create_group(f"{number:06d}")
                place["maps"] = np.stack([each.map for _, _, each in kept])
                place["inputs"] = np.stack([pixels for _, pixels, _ in kept])
                text = h5py.string_dtype()
                place.attrs.create("names", [name for name, _, _ in kept], dtype=text)
                place.attrs.create("methods", [each.method.value for _, _, each in kept], dtype=text)
                place.attrs["targets"] = [each.target.index for _, _, each in kept]
                place.attrs["probabilities"] = [each.target.probability for _, _, each in kept]
