"""``cvtool gan export``: a generator for use elsewhere."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from cvtool.cli import options as shared
from cvtool.cli.console import Console
from cvtool.cli.gan_generator import CheckpointOption, note, open_generator
from cvtool.cli.outputs import check_writable, make_folder
from cvtool.cli.repeat import command_line


def export(
    context: typer.Context,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="FILE", help="File to write: .pt for TorchScript, .onnx for ONNX."),
    ],
    checkpoint: CheckpointOption = None,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
    verbose: shared.Verbose = False,
    debug: shared.Debug = False,
) -> None:
    """Write a generator as TorchScript or ONNX.

    The file is checked to make the same pictures. It takes noise 'z' (N, numbers) and, of a
    generator with classes, 'label' (N,), and gives pictures (N, channels, side, side) from -1 (black) to 1.
    """
    from cvtool.files import write_atomically
    from cvtool.gan.export import export as exported
    from cvtool.gan.export import kind_of

    console = Console(json=json, quiet=quiet, verbose=verbose)
    started = time.perf_counter()
    check_writable(output, [checkpoint] if checkpoint is not None else [], "--output")
    kind = kind_of(output)
    opened = open_generator(checkpoint)
    files = {"checkpoint": None if opened.bundled else opened.path}
    line = command_line(context, [], replaced={**files, "output": output.name})
    found = exported(opened.checkpoint, kind, note(opened, "gan export", line, {"kind": kind}))
    make_folder(output.parent)
    write_atomically(output, found.data)
    seconds = time.perf_counter() - started
    generator = opened.checkpoint.generator
    console.result(
        "gan export",
        output=str(output),
        model=opened.name,
        seconds=round(seconds, 2),
        kind=kind.value,
        inputs=list(found.inputs),
        latent=generator.latent,
        noise="uniform" if generator.uniform else "normal",
        size=generator.shape.size,
        channels=generator.shape.channels,
        classes=list(opened.classes),
        size_mb=round(len(found.data) / 1e6, 3),
        largest_difference=found.difference,
        checked_with=found.checked_with,
    )
    console.say(
        f"{opened.name} -> {output} ({len(found.data) / 1e6:.1f} MB; run by {found.checked_with} its pictures differ "
        f"by {found.difference:.1g} at most, in a range of 2; {seconds:.1f} s)"
    )
