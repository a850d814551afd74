"""The ranking of methods that ``cvtool saliency --evaluate`` finds over several pictures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvtool.cli.console import Console
from cvtool.cli.tables import write_table

if TYPE_CHECKING:
    from cvtool.saliency.evaluation import Evaluation

BY_HIDING = ("score", "insertion_auc", "deletion_auc", "road_morf", "road_lerf")
MEASURES = (*BY_HIDING, "stability", "sanity_correlation", "sanity_ssim")
BY_BOXES = ("pointing", "energy_inside", "box_area")


def ranking(measured: Sequence[tuple[str, str, Evaluation]]) -> list[dict[str, Any]]:
    """One row per method, best first by insertion − deletion; each measure as mean, low and high of 95 %.

    Measures against boxes are means over the pictures that have some; None for a method whose pictures have none. If
    no picture has any, the rows leave them out.
    """
    from cvtool.saliency.evaluation import verdict
    from cvtool.saliency.statistics import mean_and_interval

    by_method: dict[str, list[Evaluation]] = defaultdict(list)
    for _, method, evaluation in measured:
        by_method[method].append(evaluation)
    # The same columns for all: the methods that 'auto' takes may each have had other pictures.
    measures = (*MEASURES, *(BY_BOXES if any(each.pointing is not None for _, _, each in measured) else ()))
    rows = []
    for method, evaluations in by_method.items():
        row: dict[str, Any] = {"method": method, "pictures": len(evaluations)}
        for measure in measures:
            values = [value for each in evaluations if (value := getattr(each, measure)) is not None]
            mean, low, high = mean_and_interval(values) if values else (None, None, None)
            row |= {measure: mean, f"{measure}_low": low, f"{measure}_high": high}
        errors = [each.completeness_error for each in evaluations if each.completeness_error is not None]
        row["completeness_error"] = max(errors) if errors else None
        row["verdict"] = verdict(row["sanity_correlation"])
        rows.append(row)
    return sorted(rows, key=lambda row: -row["score"])


def show_ranking(
    measured: Sequence[tuple[str, str, Evaluation]], path: Path | None, console: Console, *, aside: bool = False
) -> None:
    """Print the ranking, on stderr if `aside`, since stdout holds a picture; write it to `path` if there is one."""
    rows = ranking(measured)
    if not console.json and not console.quiet:
        header = ["method", "pictures", "insertion − deletion", "insertion", "deletion"]
        header += ["morf", "lerf", "seeds", "shuffled"]
        if BY_BOXES[0] in rows[0]:
            header += ["points", "inside", "of area"]
        console.table([_cells(row) for row in rows], header, aside=aside)
    if path is not None:
        write_table(path, rows)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    def interval(measure: str) -> str:
        return f"{row[measure]:.3f} [{row[f'{measure}_low']:.3f}, {row[f'{measure}_high']:.3f}]"

    return (
        row["method"],
        str(row["pictures"]),
        *(interval(measure) for measure in ("score", "insertion_auc", "deletion_auc")),
        *(f"{row[measure]:.3f}" for measure in ("road_morf", "road_lerf")),
        *(f"{row[measure]:.2f}" for measure in ("stability", "sanity_correlation")),
        *("–" if row[measure] is None else f"{row[measure]:.0%}" for measure in BY_BOXES if measure in row),
    )
