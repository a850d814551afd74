"""What ``cvtool saliency`` says of its maps: in JSON, and in a sentence."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cvtool.models.predictions import Prediction
    from cvtool.saliency.evaluation import Evaluation
    from cvtool.saliency.service import Explanation

ALL, AUTO = "all", "auto"


@dataclass(frozen=True, eq=False)
class Answer:
    """What one method, or ``all`` or ``auto``, found for one picture: one map, or for ``all`` several."""

    name: str
    explanations: tuple[Explanation, ...]
    evaluations: tuple[Evaluation | None, ...]


def facts(answer: Answer) -> dict[str, Any]:
    """What JSON tells of one picture."""
    each = [_measures(*pair) for pair in zip(answer.explanations, answer.evaluations, strict=True)]
    first = answer.explanations[0]
    found: dict[str, Any] = each[0]
    if answer.name == ALL:
        found = {"method": ALL, "box": _common_box(answer.explanations), "methods": each}
    return found | {
        "target": _target(first.target),
        "contrast": None if first.contrast is None else _target(first.contrast),
        "predictions": [asdict(prediction) for prediction in first.predictions],
    }


def _common_box(explanations: Sequence[Explanation]) -> list[int]:
    """Of the mean of several maps, each in units of its largest value."""
    import numpy as np

    from cvtool.saliency.boxes import strongest_box

    scaled = [each.map / (abs(each.map).max() or 1) for each in explanations]
    return list(strongest_box(np.mean(scaled, axis=0)))


def names_of(prediction: Prediction) -> tuple[str, ...]:
    """All names of a class, its WordNet id among them."""
    from cvtool.models.imagenet import classes

    if prediction.wnid is None:
        return (prediction.name,)
    return (prediction.wnid, *classes()[prediction.index].synonyms)


def _target(prediction: Any) -> dict[str, Any]:
    return {name: getattr(prediction, name) for name in ("index", "name", "probability")}


def _measures(explanation: Explanation, evaluation: Evaluation | None) -> dict[str, Any]:
    """What JSON tells of one map."""
    from cvtool.saliency.boxes import strongest_box

    facts: dict[str, Any] = {"method": explanation.method.value, "box": list(strongest_box(explanation.map))}
    facts |= {"layer": explanation.layer, **explanation.facts}
    if evaluation is not None:
        facts |= {name: value for name, value in asdict(evaluation).items() if value is not None}
        facts["verdict"] = evaluation.verdict
    return facts


def sentence(evaluation: Evaluation) -> str:
    """All measures of one map in one line."""
    parts = [f"insertion {evaluation.insertion_auc:.3f}", f"deletion {evaluation.deletion_auc:.3f}"]
    parts.append(f"ROAD {evaluation.road_morf:.3f} (most relevant first) and {evaluation.road_lerf:.3f} (least)")
    if evaluation.completeness_error is not None:
        parts.append(f"completeness error {evaluation.completeness_error:.2%}")
    parts.append(f"other seeds {evaluation.stability:.2f}")
    if evaluation.pointing is not None:
        parts.append(f"points {'into' if evaluation.pointing else 'beside'} the boxes")
        parts.append(f"{evaluation.energy_inside:.0%} of the map in the {evaluation.box_area:.0%} that they cover")
    parts.append(f"shuffled weights {evaluation.sanity_correlation:.2f}: {evaluation.verdict}")
    return "  " + ", ".join(parts)
