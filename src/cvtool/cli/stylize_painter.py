"""The work behind ``cvtool stylize``: read, paint, write, and say what was made."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cvtool import __version__
from cvtool.cli.console import Console
from cvtool.cli.frames import Watcher
from cvtool.cli.inputs import Input, read_input
from cvtool.cli.interrupts import stop_on_interrupt
from cvtool.cli.measure import peak_memory_mb, seconds_since_start
from cvtool.cli.options import Format
from cvtool.cli.outputs import Destination, make_folder
from cvtool.cli.repeat import command_line
from cvtool.errors import Interrupted
from cvtool.stylize.options import StylizeOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cvtool.images import Picture
    from cvtool.models.loader import Model
    from cvtool.stylize.run import Snapshot
    from cvtool.stylize.service import StylizeResult

SECONDS_TO_END, SECONDS_PER_MEGAPIXEL = 0.3, 0.4
"""What of a budget is kept for encoding a PNG and leaving, measured on one slow core."""

WITHOUT_EFFECT = frozenset({"animate", "preview", "checkpoint", "resume"})
"""Options that write something else or say where to begin: the picture in the end is the same."""


@dataclass(frozen=True)
class Extras:
    """Files besides the picture; None for those not asked for."""

    animate: Path | None = None
    preview: Path | None = None
    checkpoint: Path | None = None
    resume: Path | None = None

    def given(self) -> dict[str, Path]:
        """Option → file, for those that are asked for."""
        return {f"--{name}": path for name, path in vars(self).items() if path is not None}

    def written(self) -> dict[str, Path]:
        """Option → file, for those that are written and not read."""
        return {option: path for option, path in self.given().items() if option != "--resume"}


@dataclass(frozen=True)
class Styles:
    """What is read besides the content: the style pictures, and where the picture starts (None: see the options)."""

    files: tuple[Input, ...]
    start: Input | None = None


@dataclass(frozen=True)
class Painter:
    """Paints one content after the other with the same styles and the same network.

    Attributes:
        context: of the running command, for the provenance.
        bits: per channel of the written picture, 8 or 16.
        weights: file for ``--weights``, or None.
    """

    context: typer.Context
    console: Console
    options: StylizeOptions
    styles: Styles
    extras: Extras
    model_name: str
    weights: Path | None
    device_name: str
    bits: int
    _begun: list[bool] = field(default_factory=list)

    @cached_property
    def model(self) -> Model:
        """Loaded when the first content has been read, so that a wrong path is told at once."""
        from cvtool.models.loader import load

        return load(self.model_name, device=self.device_name, weights=self.weights)

    @cached_property
    def _style_pictures(self) -> list[tuple[Picture, str]]:
        return [read_input(file) for file in self.styles.files]

    @cached_property
    def _start_picture(self) -> tuple[Picture, str] | None:
        return read_input(self.styles.start) if self.styles.start is not None else None

    @cached_property
    def _snapshot(self) -> Snapshot | None:
        if self.extras.resume is None:
            return None
        from cvtool.stylize.snapshots import read_snapshot

        return read_snapshot(self.extras.resume)

    def prepare(self) -> None:
        """Do what all contents share, so that a bad style ends the command and not each content by itself.

        Raises:
            BadInputError: a style, the start or the checkpoint to resume from cannot be read.
            CvtoolError: a folder for one of the other files cannot be made.
        """
        _ = self._style_pictures, self._start_picture, self._snapshot
        for path in self.extras.written().values():
            make_folder(path.parent)

    def paint(self, given: Input, destination: Destination) -> None:
        """Paint one content and write it.

        Raises:
            Interrupted: Ctrl-C; the picture so far has been written.
            CvtoolError: as reading, loading, painting and writing raise them.
        """
        from cvtool.images import flatten
        from cvtool.stylize.service import stylize

        started, began = time.perf_counter(), self._begin()
        picture, digest = read_input(given)
        watcher = Watcher(self.extras.preview, self.extras.animate)
        model = self.model
        with (
            stop_on_interrupt(
                lambda: self.console.say("stopping at the next step; Ctrl-C again quits at once")
            ) as stop,
            self.console.progress() as progress,
        ):
            result = stylize(
                visible_colors(picture),
                [flatten(style) for style, _ in self._style_pictures],
                model,
                self._within_budget(picture, began),
                init=flatten(self._start_picture[0]) if self._start_picture is not None else None,
                progress=progress,
                stop=stop,
                preview=watcher if watcher.wanted else None,
                keep=self._keeper(given, digest),
                resume=self._snapshot,
            )
        destination.write(self._encode(picture, destination, result, given, digest), self.console)
        watcher.finish(result.pixels)
        self._report(given, destination, result, time.perf_counter() - started)

    def _begin(self) -> float:
        """When the work on this picture began, on the clock of the process: for the first one, with the process."""
        first = not self._begun
        self._begun.append(True)
        return 0.0 if first else seconds_since_start()

    def _within_budget(self, picture: Picture, began: float) -> StylizeOptions:
        """The options with what is left of the budget after loading, less what writing will take."""
        if self.options.budget is None:
            return self.options
        from cvtool.stylize.pyramid import output_size

        height, width = output_size(picture.pixels.shape[0], picture.pixels.shape[1], self.options.size)
        ending = SECONDS_TO_END + SECONDS_PER_MEGAPIXEL * height * width / 1e6 * self.bits / 8
        return replace(self.options, budget=self.options.budget - (seconds_since_start() - began) - ending)

    def _keeper(self, given: Input, digest: str) -> Callable[[Snapshot], None] | None:
        """What is done with the state of the work now and then: keep it in the checkpoint, or nothing."""
        path = self.extras.checkpoint
        if path is None:
            return None
        from cvtool.stylize.snapshots import write_snapshot

        note = self._note(given, digest, self.options)
        return lambda snapshot: write_snapshot(path, snapshot, note)

    def _encode(
        self, picture: Picture, destination: Destination, result: StylizeResult, given: Input, digest: str
    ) -> bytes:
        from cvtool.images import encode_picture, note_fits, resize

        # The plan stands in for the budget: the time it takes depends on the machine, the steps do not.
        plan = tuple(steps for _, _, steps in result.plan)
        note = self._note(given, digest, replace(result.options, steps=plan, budget=None), destination.format)
        if not note_fits(note, destination.format.value):
            self.console.warn(f"'{destination.name}' has no room for its provenance; png, webp and tiff have.")
        height, width = result.pixels.shape[:2]
        alpha = None if picture.alpha is None else resize(picture.alpha, height, width)
        return encode_picture(result.pixels, destination.format.value, alpha=alpha, bits=self.bits, note=note)

    def _note(self, given: Input, digest: str, options: StylizeOptions, format: Format | None = None) -> str:
        """The provenance of one picture, or of a checkpoint on the way to it, as text."""
        from cvtool.provenance import Provenance

        files = [(given, digest)]
        files += [(file, sha) for file, (_, sha) in zip(self.styles.files, self._style_pictures, strict=True)]
        if self.styles.start is not None and self._start_picture is not None:
            files.append((self.styles.start, self._start_picture[1]))
        return Provenance(
            command="stylize",
            version=__version__,
            command_line=self._command_line(given, options, format),
            options=asdict(options),
            inputs=tuple({"path": file.lasting_name, "sha256": sha} for file, sha in files),
            model=self.model_name,
            device=str(self.model.device),
            seed=self.options.seed,
        ).to_json()

    def _command_line(self, given: Input, options: StylizeOptions, format: Format | None) -> str:
        styles = [style.lasting_name for style in self.styles.files]
        by_option = bool(self.context.params.get("style"))
        return command_line(
            self.context,
            [given.lasting_name, *([] if by_option else styles)],
            replaced={
                "steps": ",".join(map(str, options.steps)) or None,
                "budget": options.budget,
                "style": styles if by_option else None,
                "style_weight": list(self.options.style_weights),
                "init": self.styles.start.lasting_name if self.styles.start is not None else options.init,
                "format": format,
                "weights": self.weights,
            },
            dropped=WITHOUT_EFFECT,
        )

    def _report(self, given: Input, destination: Destination, result: StylizeResult, seconds: float) -> None:
        height, width = result.pixels.shape[:2]
        memory = peak_memory_mb()
        self.console.result(
            "stylize",
            input=given.name,
            output=destination.name,
            model=self.model_name,
            device=str(self.model.device),
            seed=self.options.seed,
            seconds=round(seconds, 3),
            styles=[style.name for style in self.styles.files],
            width=width,
            height=height,
            steps=result.steps,
            content_loss=result.content_loss,
            style_loss=result.style_loss,
            tv_loss=result.tv_loss,
            stopped_by=result.stopped_by,
            peak_memory_mb=None if memory is None else round(memory, 1),
        )
        self.console.detail(f"{seconds:.1f} s, peak memory {memory or float('nan'):.0f} MB")
        if result.stopped_by == "interrupt":
            raise Interrupted(f"stopped after {result.steps} steps; the picture so far is in '{destination.name}'.")
        self.console.say(
            f"{given.name} -> {destination.name} ({width} x {height}, {result.steps} steps, {seconds:.1f} s)"
        )


def visible_colors(picture: Picture) -> NDArray[np.float32]:
    """The colours (H, W, 3) of a picture, where nothing shows through them replaced by the mean of the visible ones.

    Programs leave anything behind fully transparent pixels, often black; painted, it would bleed into what can be
    seen. Colours of pixels that are partly transparent stay as they are.
    """
    import numpy as np

    if picture.alpha is None:
        return picture.pixels
    hidden = picture.alpha <= 0
    if not hidden.any():
        return picture.pixels
    weight = picture.alpha[..., None]
    mean = (picture.pixels * weight).sum((0, 1)) / weight.sum() if weight.sum() > 0 else np.full(3, 0.5)
    return np.where(hidden[..., None], mean, picture.pixels).astype(np.float32)
