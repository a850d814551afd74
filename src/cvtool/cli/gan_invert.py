"""``cvtool gan invert``: the noise behind a picture."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cvtool.cli import options as shared
from cvtool.cli.batch import for_each
from cvtool.cli.console import Console
from cvtool.cli.gan_generator import CheckpointOption, Opened, as_cell, fitting_scale, note, open_generator
from cvtool.cli.inputs import Input, expand, paths_of, read_input, refuse_second_stdin
from cvtool.cli.interrupts import stop_on_interrupt
from cvtool.cli.outputs import Destination, check_besides, files_of, make_folder, plan_outputs, result_name
from cvtool.cli.repeat import command_line
from cvtool.errors import Interrupted
from cvtool.gan.labels import label_numbers
from cvtool.gan.use_options import InvertOptions
from cvtool.models.cards import DEFAULT_MODEL

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from cvtool.gan.inversion import Inversion
    from cvtool.models.loader import Model

DEFAULTS = InvertOptions()
CELL = 256  # pixels
SHARE_WORTH_NAMING = 0.01
"""Of a class in a mixture."""


def invert(
    context: typer.Context,
    images: Annotated[list[str], typer.Argument(metavar="IMAGE", help="Pictures, or folders of them.")],
    checkpoint: CheckpointOption = None,
    label: Annotated[
        str | None,
        typer.Option(
            "--label", metavar="L", show_default="looked for, too", help="Keep to this class: name or number."
        ),
    ] = None,
    latent: Annotated[
        Path | None,
        typer.Option(
            "--latent",
            metavar="FILE.npy",
            show_default="none",
            help="Also write the noise, for 'gan sample --latent' and 'gan interpolate --latent'.",
        ),
    ] = None,
    starts: Annotated[
        int, typer.Option("--starts", metavar="N", min=1, max=4096, help="Places to search from, all at once.")
    ] = DEFAULTS.starts,
    steps: Annotated[
        int,
        typer.Option("--steps", metavar="N", min=1, help="Of all starts; then as many again of the best of them."),
    ] = DEFAULTS.steps,
    features: Annotated[
        float,
        typer.Option(
            "--features", metavar="W", min=0, help="Weight of what --model sees against pixels; 0 leaves it out."
        ),
    ] = DEFAULTS.features,
    model: Annotated[str, shared.model_option()] = DEFAULT_MODEL,
    weights: shared.Weights = None,
    recursive: shared.Recursive = False,
    device: shared.Device = "auto",
    seed: shared.Seed = DEFAULTS.seed,
    output: shared.Output = None,
    format: shared.FormatOption = None,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
    verbose: shared.Verbose = False,
    debug: shared.Debug = False,
) -> None:
    """Find what comes nearest to a picture.

    Of all that a generator can make; both are written side by side.
    """
    console = Console(json=json, quiet=quiet, verbose=verbose)
    inputs = expand(images, recursive=recursive)
    refuse_second_stdin(inputs)
    protected = [*paths_of(inputs), *(path for path in (checkpoint, weights) if path is not None)]
    destinations = plan_outputs(
        [result_name(given.stem, "inverted") for given in inputs],
        output=output, format=format, inputs=protected, json=json, collected=any(each.collected for each in inputs),
    )  # fmt: skip
    if latent is not None:
        check_besides(latent, protected, "--latent", files_of(destinations))
    options = InvertOptions(starts=starts, survivors=min(starts, DEFAULTS.survivors), steps=steps, features=features,
                            seed=seed)  # fmt: skip
    opened = open_generator(checkpoint)
    number = label_numbers([label], opened.classes)[0] if label is not None else None
    work = Inverting(context, console, opened, options, number, model, weights, device, iter(destinations))
    if len(inputs) > 1:  # what is wrong with the network is told once, not for every picture
        _ = work.model
    try:
        for_each(inputs, work.invert, command="gan invert", console=console)
    finally:
        if latent is not None and work.found:
            work.write_latents(latent)


@dataclass(frozen=True, eq=False)
class Inverting:
    """Searches for one picture after the other."""

    context: typer.Context
    console: Console
    opened: Opened
    options: InvertOptions
    label: int | None
    model_name: str
    weights: Path | None
    device_name: str
    destinations: Iterator[Destination]
    found: list[Inversion] = field(default_factory=list)

    @cached_property
    def device(self) -> torch.device:
        """Where to compute."""
        from cvtool.tensors import choose_device

        return choose_device(self.device_name)

    @cached_property
    def model(self) -> Model | None:
        """The image network, if its opinion counts."""
        from cvtool.models.loader import load

        if self.options.features == 0:
            return None
        return load(self.model_name, device=self.device, weights=self.weights)

    def invert(self, given: Input) -> None:
        """Search for one picture, write both, say so.

        Raises:
            Interrupted: by Ctrl-C; the best so far is written.
            BadInputError: the picture cannot be read.
        """
        from cvtool.gan.inversion import fitted, invert
        from cvtool.images import flatten

        destination = next(self.destinations)  # also of a picture that cannot be read
        picture, digest = read_input(given)
        shape = self.opened.checkpoint.generator.shape
        wanted = fitted(flatten(picture), shape.size, shape.channels)
        with (
            stop_on_interrupt(lambda: self.console.say("stopping after this step …")) as stop,
            self.console.progress() as progress,
        ):
            found = invert(
                wanted, self.opened.checkpoint.generator, self.options, label=self.label, model=self.model,
                device=self.device, progress=progress, stop=stop,
            )  # fmt: skip
        self.found.append(found)
        self._draw(destination, given, digest, found)
        self._report(destination, given, found)
        if found.stopped_by == "interrupt":
            raise Interrupted(f"stopped after {found.steps} steps; the best so far is in '{destination.name}'.")

    def write_latents(self, path: Path) -> None:
        """Rows of noise, and of weights of the classes, in the order of the pictures that could be done."""
        import torch

        from cvtool.files import write_atomically
        from cvtool.gan.sampling import encode_latents

        z = torch.stack([each.z for each in self.found])
        weights = [each.weights for each in self.found if each.weights is not None]
        make_folder(path.parent)
        write_atomically(path, encode_latents(z, torch.stack(weights) if weights else None))
        self.console.say(f"the noise of {len(z)} -> {path}")

    def _draw(self, destination: Destination, given: Input, digest: str, found: Inversion) -> None:
        from cvtool.grids import contact_sheet
        from cvtool.images import encode_picture

        size = len(found.wanted)
        scale = fitting_scale(size, 1, CELL, max(CELL, size))
        pictures = [as_cell(found.wanted, scale), as_cell(found.found, scale)]
        labels = ["original", f"found, {found.psnr:.1f} dB"]
        panel = contact_sheet([pictures], column_labels=labels, cell=size * scale)
        files = {
            "checkpoint": None if self.opened.bundled else self.opened.path,
            "weights": self.weights,
            "format": destination.format,
        }
        line = command_line(self.context, [given.lasting_name], replaced=files, dropped=frozenset({"latent"}))
        text = note(
            self.opened, "gan invert", line, {**asdict(self.options), "label": self.label, "model": self.model_name},
            inputs=({"path": given.lasting_name, "sha256": digest},), device=str(self.device), seed=self.options.seed,
        )  # fmt: skip
        destination.write(encode_picture(panel, destination.format.value, note=text), self.console)

    def _report(self, destination: Destination, given: Input, found: Inversion) -> None:
        shares = self._shares(found)
        self.console.result(
            "gan invert",
            input=given.name,
            output=destination.name,
            model=self.opened.name,
            device=str(self.device),
            seed=self.options.seed,
            seconds=round(found.seconds, 3),
            psnr=found.psnr,
            ssim=found.ssim,
            loss=found.loss,
            classes=[{"name": name, "weight": weight} for name, weight in shares],
            latent=found.z.tolist(),
            steps=found.steps,
            stopped_by=found.stopped_by,
        )
        mixture = ", ".join(f"{name} {weight:.0%}" for name, weight in shares[:3])
        self.console.say(
            f"{given.name} -> {destination.name} ({found.psnr:.1f} dB, structural similarity {found.ssim:.2f}"
            f"{', ' + mixture if mixture else ''}, {found.seconds:.1f} s)"
        )

    def _shares(self, found: Inversion) -> list[tuple[str, float]]:
        """Classes in the picture with their weights, the largest first."""
        if found.weights is None:
            return []
        pairs = zip(self.opened.classes, found.weights.tolist(), strict=True)
        return sorted((pair for pair in pairs if pair[1] >= SHARE_WORTH_NAMING), key=lambda pair: -pair[1])
