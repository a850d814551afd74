"""``cvtool gan interpolate``: one picture becomes the next."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cvtool.cli import options as shared
from cvtool.cli.console import Console
from cvtool.cli.gan_generator import (
    CheckpointOption,
    LabelOption,
    LatentOption,
    Opened,
    SeedsOption,
    TruncationOption,
    as_cell,
    check_fits,
    fitting_scale,
    note,
    open_generator,
    parse_seeds,
    read_latents,
    refuse_latent_with,
    seeds_from,
)
from cvtool.cli.outputs import Destination, check_besides, files_of, make_folder, plan_outputs, result_name
from cvtool.cli.repeat import command_line
from cvtool.gan.use_options import WalkOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from cvtool.gan.interpolation import Walk

DEFAULTS = WalkOptions()
STRIP_WIDTH, FRAME_SIDE = 1000, 280  # pixels
GAP = 2  # pixels between pictures of a strip
FASTEST = 50
"""Frames a second; a GIF shows no more."""


def interpolate(
    context: typer.Context,
    checkpoint: CheckpointOption = None,
    seeds: SeedsOption = None,
    label: LabelOption = None,
    truncation: TruncationOption = None,
    latent: LatentOption = None,
    frames: Annotated[
        int | None,
        typer.Option(
            "--frames",
            metavar="N",
            min=2,
            show_default=f"{DEFAULTS.per_leg} a leg; {DEFAULTS.per_leg_on_strip} on a strip",
            help="Pictures on the whole way.",
        ),
    ] = None,
    loop: Annotated[
        bool | None,
        typer.Option(
            "--loop/--no-loop", show_default="loop for an animation", help="Go back to the first picture at the end."
        ),
    ] = None,
    animate: Annotated[
        Path | None,
        typer.Option(
            "--animate",
            metavar="FILE",
            show_default="none",
            help="Write an animation, .gif, .webp or .mp4; a strip only with --output, too.",
        ),
    ] = None,
    fps: Annotated[
        float,
        typer.Option("--fps", metavar="N", min=0.01, max=FASTEST, help="Frames of the animation a second."),
    ] = DEFAULTS.fps,
    scale: Annotated[
        int | None,
        typer.Option(
            "--scale",
            metavar="K",
            min=1,
            max=64,
            show_default=f"about {FRAME_SIDE} px; a strip about {STRIP_WIDTH} px wide",
            help="Show every pixel as a square of K × K.",
        ),
    ] = None,
    device: shared.Device = "auto",
    precision: shared.PrecisionOption = shared.Precision.fp32,
    seed: shared.Seed = 0,
    output: shared.Output = None,
    format: shared.FormatOption = None,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
    verbose: shared.Verbose = False,
    debug: shared.Debug = False,
) -> None:
    """Walk from picture to picture.

    Along arcs in a generator's space of noise: all that is between can be made, too.
    """
    console = Console(json=json, quiet=quiet, verbose=verbose)
    if latent is not None:
        refuse_latent_with(seeds=seeds, truncation=truncation)
    given = parse_seeds(seeds) if seeds is not None else None
    protected = [path for path in (checkpoint, latent) if path is not None]
    if animate is not None:
        from cvtool.animation import animation_format

        animation_format(animate)
    strip = None
    if animate is None or output is not None:
        stem = checkpoint.stem if checkpoint is not None else "generator"
        (strip,) = plan_outputs(
            [result_name(stem, "interpolate")], output=output, format=format, inputs=protected, json=json
        )
    if animate is not None:
        check_besides(animate, protected, "--animate", files_of([strip]))
    opened = open_generator(checkpoint)
    route = _route(opened, given, seed, label, truncation, latent)
    work = Walking(context, console, opened, route, animate, strip, fps, scale, device, precision.value)
    work.walk(frames, animate is not None if loop is None else loop)


@dataclass(frozen=True, eq=False)
class Route:
    """What is walked between.

    Attributes:
        z: noise (K, latent).
        weights: of the classes (K, classes), or None.
        seeds: of each stop; None for noise from a file.
        labels: names of the classes at each stop; None without, or where a file mixes them.
        latent: file that the noise came from, with its SHA-256.
    """

    z: Tensor
    weights: Tensor | None
    seeds: tuple[int, ...] | None
    labels: tuple[str, ...] | None
    latent: tuple[Path, str] | None = None


def _route(
    opened: Opened,
    given: tuple[int, ...] | None,
    seed: int,
    label: list[str] | None,
    truncation: float | None,
    latent: Path | None,
) -> Route:
    from cvtool.gan.sampling import class_weights, latents

    file, weights, numbers = None, None, None
    if latent is not None:
        z, weights, digest = read_latents(latent, opened)
        file = (latent, digest)
    else:
        stops = min(len(opened.classes), DEFAULTS.most_stops) if len(opened.classes) > 1 else DEFAULTS.stops
        given = given or seeds_from(seed, stops)
        z = latents(opened.checkpoint.generator, given, truncation)
    if weights is None or label:
        numbers = opened.numbers(label, len(z))
        weights = None if numbers is None else class_weights(numbers, len(opened.classes))
    names = None if numbers is None else tuple(opened.classes[number] for number in numbers)
    return Route(z, weights, given, names, file)


@dataclass(frozen=True, eq=False)
class Walking:
    """Goes the way, and shows it."""

    context: typer.Context
    console: Console
    opened: Opened
    route: Route
    animate: Path | None
    strip: Destination | None
    fps: float
    scale: int | None
    device: str
    precision: str

    def walk(self, frames: int | None, loop: bool) -> None:
        """Make the pictures, write them, say so."""
        from cvtool.gan.interpolation import walk
        from cvtool.gan.sampling import Sampler
        from cvtool.tensors import choose_device

        started = time.perf_counter()
        generator = self.opened.checkpoint.generator
        legs = len(self.route.z) - (not loop)
        count = frames or (DEFAULTS.per_leg * legs if self.animate else DEFAULTS.per_leg_on_strip * legs) + (not loop)
        size, fewer = generator.shape.size, "Give fewer --frames or less --scale."
        side = size * (self.scale or fitting_scale(size, 1, FRAME_SIDE, FRAME_SIDE))
        if self.animate is not None:
            check_fits(count, side, "frames", fewer)
        if self.strip is not None:
            check_fits(count, size * (self.scale or 1), "pictures", fewer)
        way = walk(generator, self.route.z, self.route.weights, frames=count, loop=loop)
        sampler = Sampler(generator, choose_device(self.device), precision=self.precision)
        with self.console.progress() as progress:
            pictures = sampler(way.z, way.labels, progress=progress)
        if self.animate is not None:
            from cvtool.animation import write_animation

            scale = side // size
            make_folder(self.animate.parent)
            hold = 1 / self.fps if loop else 1.0
            shown = {"animate": self.animate.name, "fps": self.fps}
            text = self._note(shown, len(pictures), loop, scale, str(sampler.device))
            write_animation(self.animate, [as_cell(each, scale) for each in pictures], self.fps, hold, note=text)
        if self.strip is not None:
            self._draw(self.strip, pictures, way, loop, str(sampler.device))
        self._report(started, len(pictures), loop, str(sampler.device))

    def _draw(self, strip: Destination, pictures: NDArray[np.uint8], way: Walk, loop: bool, device: str) -> None:
        from cvtool.grids import contact_sheet
        from cvtool.images import encode_picture

        size, route = pictures.shape[1], self.route
        places = [[place for place, leg in enumerate(way.legs) if leg == wanted] for wanted in range(max(way.legs) + 1)]
        # Each row ends with the picture that the next begins with.
        rows = [[*row, after[0]] for row, after in zip(places, [*places[1:], places[0]], strict=True)]
        if not loop:
            rows[-1].pop()
        scale = self.scale or fitting_scale(size, max(map(len, rows)), STRIP_WIDTH, FRAME_SIDE)
        cells = [[as_cell(pictures[place], scale) for place in row] for row in rows]
        heads = route.seeds or tuple(range(1, len(route.z) + 1))
        labels = [f"{heads[leg]} to {heads[(leg + 1) % len(heads)]}" for leg in range(len(rows))]
        sheet = contact_sheet(cells, row_labels=labels, cell=size * scale, gap=GAP)
        text = self._note({"format": strip.format}, len(pictures), loop, scale, device)
        strip.write(encode_picture(sheet, strip.format.value, note=text), self.console)

    def _note(self, shown: dict[str, Any], frames: int, loop: bool, scale: int, device: str) -> str:
        """The provenance of the strip or, if `shown` says so, of the animation, as text."""
        route = self.route
        options = {"frames": frames, "loop": loop, "scale": scale, "seeds": route.seeds, "labels": route.labels}
        if "animate" in shown:
            options |= shown
        return note(
            self.opened, "gan interpolate", self._line(shown, frames, loop), options,
            inputs=() if route.latent is None else _input(*route.latent), device=device, seed=self._seed,
        )  # fmt: skip

    def _line(self, shown: dict[str, Any], frames: int, loop: bool) -> str:
        files: dict[str, Any] = {
            "checkpoint": None if self.opened.bundled else self.opened.path,
            "latent": None if self.route.latent is None else self.route.latent[0],
        }
        replaced = {**files, "frames": frames, "loop": loop, **shown}
        dropped = frozenset({"animate", "fps", "format"}).difference(shown)
        return command_line(self.context, [], replaced=replaced, dropped=dropped)

    @property
    def _seed(self) -> int | None:
        return None if self.route.seeds is None else self.route.seeds[0]

    def _report(self, started: float, frames: int, loop: bool, device: str) -> None:
        route = self.route
        animation = None if self.animate is None else str(self.animate)
        names = [name for name in (self.strip.name if self.strip else None, animation) if name is not None]
        seconds = time.perf_counter() - started
        self.console.result(
            "gan interpolate",
            input=None if route.latent is None else str(route.latent[0]),
            output=names[0],
            model=self.opened.name,
            device=device,
            seed=self._seed,
            seconds=round(seconds, 3),
            frames=frames,
            loop=loop,
            animation=animation,
            seeds=None if route.seeds is None else list(route.seeds),
            labels=None if route.labels is None else list(route.labels),
        )
        self.console.say(f"{frames} pictures between {len(route.z)} -> {' and '.join(names)} ({seconds:.1f} s)")


def _input(path: Path, digest: str) -> tuple[dict[str, str], ...]:
    return ({"path": str(path.resolve()), "sha256": digest},)
