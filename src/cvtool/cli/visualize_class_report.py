"""What ``cvtool visualize-class`` says of its pictures: in JSON, in a sentence, and on a sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from math import ceil, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvtool.cli.outputs import make_folder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cvtool.visualize_class.service import Verdict, Visualization


def facts(found: Visualization) -> dict[str, Any]:
    """What JSON tells of one picture."""
    target = found.target
    height, width = found.pixels.shape[:2]
    told: dict[str, Any] = {"method": found.options.method.value}
    if found.of_target is not None:
        told["target"] = {"index": found.of_target.index, "name": found.of_target.name}
        told["target"]["wnid"] = found.of_target.wnid
        told["probability"], told["logit"] = found.of_target.probability, found.score
        told["predictions"] = [asdict(each) for each in found.predictions]
    else:
        told["target"] = {"layer": target.layer, "unit": target.unit.value, "number": target.number}
        told["target"]["direction"] = bool(target.direction)
        told |= {"probability": None, "logit": None, "activation": found.score}
    return told | {
        "started_from": found.score_of_start,
        "steps": found.steps,
        "width": width,
        "height": height,
        "stopped_by": found.stopped_by,
        "judges": {each.model: _verdict(each) for each in found.verdicts},
    }


def sentence(found: Visualization) -> str:
    """The result in a few words."""
    parts = [f"{found.steps} steps"]
    if found.of_target is None:
        parts.append(f"activation {found.score_of_start:.2f} -> {found.score:.2f}")
    else:
        parts.append(f"seen as {found.predictions[0].name} {found.predictions[0].probability:.1%}")
    for each in found.verdicts:
        rank = "first" if each.rank == 1 else f"number {each.rank}"
        parts.append(f"for {each.model} {rank}, {each.probability:.1%}")
    return ", ".join(parts)


def write_sheet(pictures: Sequence[tuple[str, NDArray[np.float32]]], variants: int, path: Path, note: str) -> None:
    """All pictures with their labels, and what made them; those of one target in one row, if there are several.

    Raises:
        CvtoolError: the file cannot be written.
    """
    from cvtool.files import write_atomically
    from cvtool.grids import sheet
    from cvtool.images import encode_picture, format_of

    make_folder(path.parent)
    drawn = sheet(pictures, variants if variants > 1 else ceil(sqrt(len(pictures))))
    write_atomically(path, encode_picture(drawn, format_of(path), note=note))


def _verdict(each: Verdict) -> dict[str, Any]:
    return {"probability": each.probability, "rank": each.rank, "sees": each.sees}
