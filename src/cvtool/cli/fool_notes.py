"""How the files of ``cvtool fool`` came to be: provenance of results, of the pictures beside them, of the plot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cvtool import __version__
from cvtool.cli.options import Format
from cvtool.cli.repeat import command_line
from cvtool.cli.without_effect import Uses, unused
from cvtool.fool.options import FoolOptions, Method

if TYPE_CHECKING:
    from cvtool.fool.results import FoolResult

WITHOUT_EFFECT = frozenset({"table", "batch", "method", "view", "transfer_to", "explain", "sticker", "plot"})
METHODS_OWN = {
    **{name: name for name in ("steps", "step_size", "restarts", "patch_robust")},
    "patch_size": "patch",
}
"""Parameter → field of the options, of those that not all attacks look at."""


@dataclass(frozen=True)
class Notes:
    """What all files of one command have in common.

    Attributes:
        context: of the running command.
        model_name, device: of the network.
        weights, mask: files, or None.
        options: as they were asked of every picture.
        together: inputs of the pictures that are computed now, in their order, as in `Provenance`.
    """

    context: typer.Context
    model_name: str
    device: str
    weights: Path | None
    mask: Path | None
    options: FoolOptions
    together: list[Mapping[str, str]] = field(default_factory=list)

    def of_result(
        self,
        inputs: Sequence[Mapping[str, str]],
        result: FoolResult,
        format: Format,
        beside: Mapping[str, Any] | None = None,
    ) -> str:
        """The provenance of a changed picture, or of one beside it, as text.

        Args:
            inputs: the file it was made of, as in `Provenance`; none for noise. One change for several pictures was
                made of `together`, and the others follow.
            result: of the attack.
            format: of the changed picture.
            beside: the option that shows something else of it, and its value.
        """
        beside = beside or {}
        line = self.line([each["path"] for each in inputs], result, format, beside)
        others = [each for each in self.together if each not in inputs] if is_shared([result.options.method]) else []
        return self._text(line, {**asdict(result.options), "target": result.target, **beside}, [*inputs, *others])

    def of_plot(
        self, inputs: Sequence[Mapping[str, str]], methods: Sequence[str], target: str | None, name: str
    ) -> str:
        """The provenance of the plot in the file `name`, as text; `inputs` are all that are counted in it."""
        line = command_line(
            self.context,
            [each["path"] for each in inputs],
            replaced={"weights": self.weights, "mask": self.mask, "plot": name},
            dropped=_without_effect(methods) - {"method", "plot"},
        )
        return self._text(line, {**asdict(self.options), "method": methods, "target": target, "plot": name}, inputs)

    def line(
        self, paths: Sequence[str], result: FoolResult, format: Format, beside: Mapping[str, Any] | None = None
    ) -> str:
        """The command that makes it again, see `of_result`; `paths` are those of its own inputs."""
        beside, methods = beside or {}, [result.options.method]
        line = command_line(
            self.context,
            [each["path"] for each in self.together] if is_shared(methods) else paths,
            replaced={"format": format, "weights": self.weights, "mask": self.mask, **beside},
            dropped=_without_effect(methods).difference(beside) | _unused(methods[0].value),
        )
        words = line.split(" ", 2)
        return " ".join([*words[:2], "--method", result.options.method.value, *words[2:]])

    def _text(self, line: str, options: Mapping[str, Any], inputs: Sequence[Mapping[str, str]]) -> str:
        from cvtool.provenance import Provenance

        return Provenance(
            command="fool",
            version=__version__,
            command_line=line,
            options=options,
            inputs=tuple(inputs),
            model=self.model_name,
            device=self.device,
            seed=self.options.seed,
        ).to_json()


def is_shared(methods: Iterable[str]) -> bool:
    """Whether one of these makes one change for all pictures."""
    from cvtool.fool.attacks import ATTACKS

    return any(ATTACKS[Method(name)].together for name in methods)


def uses() -> Uses:
    """What each attack looks at."""
    from cvtool.fool.attacks import ATTACKS

    return {method.value: ATTACKS[method].uses for method in Method}


def _unused(name: str) -> frozenset[str]:
    """Parameters that another of the attacks was given for: the command for this one would be refused with them."""
    names = unused(uses(), name)
    return frozenset(parameter for parameter, field in METHODS_OWN.items() if field in names)


def _without_effect(methods: Iterable[str]) -> frozenset[str]:
    """Parameters that change no result of these; one change for all pictures is made batch by batch."""
    return WITHOUT_EFFECT - {"batch"} if is_shared(methods) else WITHOUT_EFFECT
