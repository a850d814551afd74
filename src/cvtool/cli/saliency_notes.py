"""How the files of ``cvtool saliency`` came to be: the command that makes each again, and its provenance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cvtool import __version__
from cvtool.cli.repeat import command_line
from cvtool.cli.saliency_report import ALL, AUTO
from cvtool.cli.without_effect import Uses, unused
from cvtool.saliency.options import Method, SaliencyOptions

if TYPE_CHECKING:
    from cvtool.cli.inputs import Input
    from cvtool.cli.options import Format
    from cvtool.cli.reading import Read
    from cvtool.cli.saliency_report import Answer
    from cvtool.models.cards import Resize

WITHOUT_EFFECT = frozenset({"raw", "table", "batch", "method", "boxes"})
METHODS_OWN = {name: name for name in ("reduce", "samples", "steps", "noise", "baseline", "layer")}
"""Parameter → field of the options, of those that not all methods look at."""


@dataclass(frozen=True)
class Notes:
    """What all files of one command have in common.

    Attributes:
        context: of the running command.
        model_name, device: of the network.
        weights, baseline: files, or None.
        view: what is drawn of a map.
        options: as they were asked of every picture.
        scaled: inputs of the pictures that have one scale, as in `Provenance`.
    """

    context: typer.Context
    model_name: str
    device: str
    weights: Path | None
    baseline: Path | None
    view: Enum
    options: SaliencyOptions
    scaled: list[dict[str, str]] = field(default_factory=list)

    def of_result(self, given: Input, picture: Read, answer: Answer, format: Format) -> str:
        """The provenance of one picture, as text."""
        from cvtool.cli.reading import entry_of
        from cvtool.provenance import Provenance

        own = entry_of(given, picture)
        return Provenance(
            command="saliency",
            version=__version__,
            command_line=self.line(given, answer, format),
            options=asdict(answer.explanations[0].options) | {"method": answer.name, "view": self.view},
            inputs=(own, *(each for each in self.scaled if each != own)),
            model=self.model_name,
            device=self.device,
            seed=self.options.seed,
        ).to_json()

    def line(self, given: Input, answer: Answer, format: Format) -> str:
        """The command that makes it again."""
        line = command_line(
            self.context,
            [each["path"] for each in self.scaled] or [given.lasting_name],
            replaced={
                "format": format,
                **self._followed(answer),
                "weights": self.weights,
                "baseline": self.baseline or self.options.baseline,
            },
            dropped=WITHOUT_EFFECT | _unused(answer.name),
        )
        words = line.split(" ", 2)
        return " ".join([*words[:2], "--method", answer.name, *words[2:]])

    def _followed(self, answer: Answer) -> Mapping[str, Resize]:
        """The resize that nobody gave, for the command line of one picture: it holds elsewhere, too."""
        used = answer.explanations[0].options.resize
        return {} if self.scaled or used is self.options.resize else {"resize": used}


def uses() -> Uses:
    """What each method looks at."""
    from cvtool.saliency.methods import METHODS

    return {method.value: METHODS[method].uses for method in Method}


def _unused(name: str) -> frozenset[str]:
    """Parameters that another of the methods was given for: the command for this one would be refused with them."""
    names = frozenset() if name in (ALL, AUTO) else unused(uses(), name)
    return frozenset(parameter for parameter, field in METHODS_OWN.items() if field in names)
