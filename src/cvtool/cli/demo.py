"""``cvtool demo``: a tour of all techniques on bundled pictures, each by the command that a user would type."""

from __future__ import annotations

import io
import json as json_format
import shlex
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from cvtool.cli import options as shared
from cvtool.cli.batch import for_each
from cvtool.cli.console import Console
from cvtool.cli.failures import INTERRUPTED
from cvtool.cli.outputs import check_writable, make_folder
from cvtool.cli.reporting import Chapter, Report
from cvtool.errors import CvtoolError, UsageError

FOLDER = Path("cvtool-demo")
INDEX = "index.html"


@dataclass(frozen=True)
class Stop:
    """One stop of the tour.

    Attributes:
        heading: the technique.
        sentence: what it does here.
        words: of the command, without its output.
        output: the option that says where, and the file's name.
    """

    heading: str
    sentence: str
    words: str
    output: tuple[str, str]

    @property
    def name(self) -> str:
        """What the user sees, should it fail."""
        return self.heading

    def arguments(self, folder: Path, device: str) -> list[str]:
        """The words after ``cvtool``, for results in `folder`."""
        where = [] if device == "auto" else ["--device", device]
        option, file = self.output
        return [*self.words.split(), *where, option, str(folder / file)]


TOUR = (
    Stop(
        "Style transfer",
        "Paints a photograph in the manner of a picture: its structure from one, its textures from the other.",
        "stylize asset:astronaut asset:flow_strokes --size 448",
        ("-o", "stylize.jpg"),
    ),
    Stop(
        "Saliency",
        "Shows which pixels a classifier's answer rests on.",
        "saliency asset:coffee --method grad-cam",
        ("-o", "saliency.jpg"),
    ),
    Stop(
        "Fooling",
        "Changes a photograph by less than the eye sees, until the network is sure of something else.",
        "fool asset:cat --target espresso",
        ("-o", "fool.png"),
    ),
    Stop(
        "Class visualisation",
        "Climbs from noise to a picture of what the network takes for a class.",
        "visualize-class peacock --size 224 --steps 96",
        ("-o", "visualize-class.png"),
    ),
    Stop(
        "Captioning",
        "Says in words what a photograph shows, and where it looked for each of them. It has learned from pictures of "
        "people and dogs outdoors, and knows little else.",
        "caption describe asset:cameraman",
        ("--attention", "caption.jpg"),
    ),
    Stop(
        "Generating",
        "Makes pictures of clothes that never were, a column for each kind.",
        "gan sample -n 60",
        ("-o", "gan.png"),
    ),
)


def demo(
    context: typer.Context,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Folder for the results and their page.")
    ] = FOLDER,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", show_default="off", help="Write into a folder that is not empty, too.")
    ] = False,
    device: shared.Device = "auto",
    json: shared.Json = False,
    quiet: shared.Quiet = False,
    verbose: shared.Verbose = False,
    debug: shared.Debug = False,
) -> None:
    """See all techniques at work, on one page.

    A tour of a minute or two. Each technique is shown by a command of its own, which is said and stands on the page:
    copy it to go on from there.
    """
    console = Console(json=json, quiet=quiet, verbose=verbose)
    _refuse_full(output, overwrite)
    report = Report(
        output / INDEX,
        "A tour of cvtool",
        introduction=("One small example of each technique, made on this machine, and the command that makes it.",),
    )
    numbers = iter(range(1, len(TOUR) + 1))

    def visit(stop: Stop) -> None:
        arguments = stop.arguments(output, device)
        line = shlex.join(["cvtool", *arguments])
        console.say(f"{next(numbers)}/{len(TOUR)} {stop.heading}: {line}")
        report.chapter = Chapter(stop.heading, stop.sentence, line)
        told = io.StringIO()
        try:
            with redirect_stdout(told):
                # The console says above what is done: the command itself only has to report.
                code = context.find_root().command.main(
                    [*arguments, "--json", "--quiet"], prog_name="cvtool", standalone_mode=False, obj=report
                )
        finally:  # one that missed its goal, or was stopped, has told what it came to
            if console.json:
                _tell_results(told.getvalue(), console)
        if code == INTERRUPTED:  # Typer has made an exit of the KeyboardInterrupt
            raise KeyboardInterrupt

    make_folder(output)
    with report.written(console):
        for_each(TOUR, visit, command="demo", console=console)


def _tell_results(told: str, console: Console) -> None:
    """Print the JSON lines of one command but what was wrong with its input, which is told of the stop."""
    for record in told.splitlines():
        if "error" not in json_format.loads(record):
            console.line(record)


def _refuse_full(folder: Path, overwrite: bool) -> None:
    """Refuse a folder with files in it, and a place where nothing can be written.

    Raises:
        UsageError: it is full, a file, or not to be written to.
    """
    check_writable(folder / INDEX, [], "--output")
    try:
        full = folder.is_dir() and any(folder.iterdir())
    except OSError as error:
        raise CvtoolError(f"Cannot look into '{folder}': {error.strerror}. Choose another --output.") from error
    if full and not overwrite:
        raise UsageError(f"'{folder}' is not empty. Choose another --output, or write into it with --overwrite.")
