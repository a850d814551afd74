"""What ``cvtool fool`` says: in JSON, in a sentence, and in a table over many pictures."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cvtool.cli.console import Console
from cvtool.cli.repeat import given_names
from cvtool.fool.options import Norm
from cvtool.models.cards import Resize

if TYPE_CHECKING:
    from cvtool.fool.results import FoolResult, Sticker, View

SHARES = (0.25, 0.5, 0.75, 1.0)
"""Of eps, or of the largest change that was needed: where the success rate is told."""


@dataclass(frozen=True)
class Measured:
    """What the table and the curves need of a result.

    Attributes:
        method, norm: names.
        eps: the limit; infinite for none.
        success: whether the file that was written fools.
        size: of the change, in that norm.
        inputs: the file it was made of, as in `Provenance`; none for noise.
    """

    method: str
    norm: str
    eps: float
    success: bool
    size: float
    inputs: Sequence[Mapping[str, str]]

    @classmethod
    def of(cls, result: FoolResult, inputs: Sequence[Mapping[str, str]]) -> Measured:
        """Of one result."""
        method, norm = result.options.method.value, result.norm.value
        return cls(method, norm, result.eps, result.success, size_of(result), inputs)


VIEWS = {Resize.crop: "in its central part", Resize.fit: "as a whole", Resize.stretch: "squeezed into a square"}
"""Of a picture, which its class is said of."""


def facts(result: FoolResult) -> dict[str, Any]:
    """What JSON tells of one picture."""
    return {
        "method": result.options.method.value,
        "success": result.success,
        "target": None if result.adversarial.of_target is None else _short(result.adversarial.of_target),
        "original": _view(result.original),
        "adversarial": _view(result.adversarial),
        "norm": result.norm.value,
        "eps": result.eps,
        "linf": result.linf,
        "l2": result.l2,
        "l0": result.l0,
        "ssim": result.ssim,
        "psnr": result.psnr,
        "survived": result.survived,
        "sticker": None if result.sticker is None else _place(result.sticker),
        "steps": result.steps,
        "queries": result.forward,
        "backward": result.backward,
    }


def sentence(result: FoolResult) -> str:
    """The result in a few words."""
    first, last = result.original.predictions[0], result.adversarial.predictions[0]
    size = f"L2 {result.l2:.2f}, Linf {result.linf * 255:.0f}/255, SSIM {result.ssim:.3f}"
    wears = "".join(f", {name} {'survived' if kept else 'lost'}" for name, kept in result.survived.items())
    if result.sticker is not None and result.sticker.holds is not None:
        wears += f", the patch holds at {result.sticker.holds:.0%} of random places"
    where = VIEWS[result.options.resize]
    seen = f"{where} {first.name} {first.probability:.1%} is seen as {last.name} {last.probability:.1%}"
    wanted = result.adversarial.of_target
    if wanted is not None and wanted.index == first.index:
        seen += " (which came first before, too)"
    return f"{result.options.method.value}: {seen}; {size}{wears}"


def tell_view(context: typer.Context, resize: Resize, console: Console) -> None:
    """Why other commands see another class in the same file; who chose what is shown knows."""
    if resize is Resize.crop and "resize" not in given_names(context):
        console.say(
            "Only its central part is shown, as networks are evaluated; --resize fit shows all, as saliency does."
        )


def show_table(results: Sequence[Measured], console: Console) -> None:
    """Print how many pictures each method fools within which change."""
    found = summary(results)
    if not console.json and not console.quiet:
        columns = list(found[0])
        console.table([tuple(_cell(row, name) for name in columns) for row in found], columns)


def inputs_of(results: Sequence[Measured]) -> list[Mapping[str, str]]:
    """The files behind all results, each once."""
    return list({given["path"]: given for each in results for given in each.inputs}.values())


def write_plot(results: Sequence[Measured], path: Path, note: str) -> None:
    """Draw how many pictures each method fools within which change; `note` says how that was found.

    Raises:
        CvtoolError: the file cannot be written.
    """
    from cvtool.cli.outputs import make_folder
    from cvtool.files import write_atomically
    from cvtool.fool.curves import Curve, draw_curves
    from cvtool.images import encode_picture, format_of

    curves = [
        Curve(
            name=method,
            norm=Norm(each[0].norm),
            sizes=tuple(result.size for result in each if result.success),
            pictures=len(each),
            limit=each[0].eps if each[0].eps != float("inf") else None,
        )
        for method, each in _by_method(results).items()
    ]
    make_folder(path.parent)
    write_atomically(path, encode_picture(draw_curves(curves), format_of(path), note=note))


def summary(results: Sequence[Measured]) -> list[dict[str, Any]]:
    """One row per method and size of change: the share of pictures that a change up to that size fools."""
    rows = []
    for method, each in _by_method(results).items():
        norm = each[0].norm
        sizes = [result.size for result in each if result.success]
        limit = each[0].eps if each[0].eps != float("inf") else max(sizes, default=0.0)
        median = statistics.median(sizes) if sizes else None
        for share in SHARES:
            within = sum(size <= share * limit * (1 + 1e-4) for size in sizes)
            rows.append(
                {
                    "method": method,
                    "norm": norm,
                    "eps": share * limit,
                    "pictures": len(each),
                    "fooled": within / len(each),
                    "median": median,
                }
            )
    return rows


def _by_method(results: Sequence[Measured]) -> dict[str, list[Measured]]:
    found: dict[str, list[Measured]] = defaultdict(list)
    for result in results:
        found[result.method].append(result)
    return found


def size_of(result: FoolResult) -> float:
    """The change in the norm that the attack measured it in."""
    return float({"linf": result.linf, "l2": result.l2, "l1": result.l1, "l0": result.l0}[result.norm.value])


def _cell(row: Mapping[str, Any], name: str) -> str:
    value = row[name]
    if value is None:
        return "–"
    if name in ("eps", "median") and row["norm"] == Norm.linf.value:
        return f"{255 * value:.3g}/255"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _short(prediction: Any) -> dict[str, Any]:
    return {name: getattr(prediction, name) for name in ("index", "name", "probability")}


def _place(sticker: Sticker) -> dict[str, Any]:
    return {"top": sticker.top, "left": sticker.left, "side": len(sticker.pixels), "holds": sticker.holds}


def _view(view: View) -> dict[str, Any]:
    return {
        "predictions": [asdict(each) for each in view.predictions],
        "label": _short(view.of_label),
        "margin": view.margin,
    }
