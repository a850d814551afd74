"""How the files of ``cvtool stylize`` came to be: the provenance of pictures, of checkpoints and of styles."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import typer

from cvtool import __version__
from cvtool.cli.inputs import Input
from cvtool.cli.options import Format
from cvtool.cli.repeat import command_line
from cvtool.cli.stylize_inputs import Styles
from cvtool.stylize.options import StylizeOptions

WITHOUT_EFFECT = frozenset({"watch", "sheet", "strengths", "sheet_size", "animate", "preview", "checkpoint", "resume"})
"""Options that write something else or say where to begin: the picture in the end is the same."""


@dataclass(frozen=True)
class Notes:
    """What all files of one command have in common.

    Attributes:
        context: of the running command.
        asked: the options as they were given.
        styles: all of them.
        save_style: where their mixture is kept, or None.
        model_name, device: of the network.
        weights, painter: files, or None.
    """

    context: typer.Context
    asked: StylizeOptions
    styles: Styles
    save_style: Path | None
    model_name: str
    device: str
    weights: Path | None
    painter: Path | None

    def text(
        self,
        given: Input | None,
        digest: str,
        options: StylizeOptions,
        format: Format | None = None,
        shown: dict[str, str] | None = None,
    ) -> str:
        """The provenance of a picture, of a checkpoint on the way to it, or of a style.

        Args:
            given: the content; None for a style.
            digest: SHA-256 of its file.
            options: that make it again.
            format: of the picture.
            shown: the option, with its file, that shows the picture another way, if it is for that file.
        """
        from cvtool.provenance import Provenance

        files = [*([] if given is None else [(given, digest)]), *self.styles.digests]
        return Provenance(
            command="stylize",
            version=__version__,
            command_line=self.line(given, options, format, shown),
            options={**asdict(options), **(shown or {})},
            inputs=tuple({"path": file.lasting_name, "sha256": sha} for file, sha in files),
            model=self.model_name,
            device=self.device,
            seed=self.asked.seed,
        ).to_json()

    def line(
        self,
        given: Input | None,
        options: StylizeOptions,
        format: Format | None,
        shown: dict[str, str] | None = None,
    ) -> str:
        """The command that makes it again, see `text`."""
        styles = [style.lasting_name for style in self.styles.files]
        by_option = bool(self.context.params.get("style"))
        arguments = [] if given is None else [given.lasting_name]
        shown = shown or {}
        return command_line(
            self.context,
            arguments if by_option else [*arguments, *styles],
            replaced={
                "mask": [pair.lasting_name for pair in self.styles.masks],
                "tile": None if options.tile is None else options.tile or "off",
                "max_memory": None,
                "save_style": self.save_style if given is None else None,
                "steps": ",".join(map(str, options.steps)) or None,
                "budget": options.budget,
                "style": styles if by_option else None,
                "style_weight": list(self.asked.style_weights),
                "init": self.styles.start.lasting_name if self.styles.start is not None else options.init,
                "format": format,
                "weights": self.weights,
                "painter": self.painter,
                **shown,
            },
            dropped=WITHOUT_EFFECT.difference(shown),
        )
