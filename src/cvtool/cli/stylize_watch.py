"""``cvtool stylize --watch``: paint what appears in a folder, until Ctrl-C."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from cvtool.cli.batch import concerns_one_input, for_each
from cvtool.cli.console import Console
from cvtool.cli.failures import explain
from cvtool.cli.inputs import Input
from cvtool.cli.interrupts import stop_on_interrupt
from cvtool.cli.options import Format
from cvtool.cli.outputs import STDOUT, Destination, check_writable, make_folder, result_name
from cvtool.cli.watching import FolderWatch
from cvtool.errors import BadInputError, Interrupted, UsageError
from cvtool.progress import Stop

SECONDS_BETWEEN_LOOKS = 1.0
"""How long to wait before looking at the folder again; a file must stay the same for so long."""


@dataclass
class Results:
    """Where the pictures of a watched folder go: each to a name of its own, the same one when it is painted again.

    Attributes:
        folder: of the results.
        format: of the results.
        protected: files that must stay as they are.
    """

    folder: Path
    format: Format
    protected: Sequence[Path] = ()
    _names: dict[Path, str] = field(default_factory=dict)

    def of(self, path: Path) -> Destination:
        """Where the result of a picture goes; ``cat.jpg`` and ``cat.png`` do not share a name.

        Raises:
            UsageError: a file that must stay is in its place, or nothing can be written there.
        """
        if path not in self._names:
            wanted, number = result_name(path.stem, "stylize"), 1
            taken = {name.casefold() for name in self._names.values()}
            name = wanted
            while name.casefold() in taken:
                number += 1
                name = f"{wanted}-{number}"
            self._names[path] = name
        place = self.folder / f"{self._names[path]}.{self.format.value}"
        check_writable(place, self.protected, "--output")
        return Destination(place, self.format)


def plan_watch(watch: str, *, output: str | None, format: Format | None, inputs: Iterable[Path]) -> Results:
    """Make sure before the work that the folders are such that results are not painted again.

    Args:
        watch: as given to ``--watch``.
        output: as given to ``--output``: a folder, made if need be; None for the current one.
        format: of the results; None for PNG.
        inputs: files that are read besides; none is written to.

    Raises:
        BadInputError: the folder to watch is not there.
        UsageError: results would go into it, or to something that is no folder.
        CvtoolError: the folder of the results cannot be made.
    """
    if not Path(watch).is_dir():
        raise BadInputError(f"--watch '{watch}' is not a folder. Create it first.")
    if output == STDOUT:
        raise UsageError("--watch makes many pictures, which '--output -' cannot take. Give --output a folder.")
    folder = Path(output or ".")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--output '{folder}' is a file, but --watch makes many pictures. Give a folder.")
    if folder.resolve() == Path(watch).resolve():
        raise UsageError(
            f"The results would go into '{watch}', the watched folder itself, and be painted again. "
            "Give --output another folder."
        )
    make_folder(folder)
    return Results(folder, format or Format.png, tuple(inputs))


def watch_folder(
    watch: FolderWatch,
    paint: Callable[[Input, Destination], None],
    results: Results,
    console: Console,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> NoReturn:
    """Paint what is in a folder and what appears in it, until Ctrl-C. A picture that is replaced is painted again.

    A bad picture is reported and does not stop the others.

    Args:
        watch: of the folder.
        paint: paints one picture and writes it whole; raises `Interrupted` when Ctrl-C was pressed meanwhile.
        results: says where to.
        console: hears of what is going on.
        sleep: waits for some seconds.

    Raises:
        Interrupted: Ctrl-C: the only way out.
        CvtoolError: what would meet every picture, such as a full disk.
    """
    console.say(f"watching '{watch.folder}' every {SECONDS_BETWEEN_LOOKS:g} s; Ctrl-C ends it")
    done = 0
    with stop_on_interrupt() as stop:
        while not stop():
            was_there = watch.reachable
            ready = watch.look()
            if watch.reachable is not was_there:
                gone = "cannot be read any more; waiting for it to come back"
                console.warn(f"'{watch.folder}' {'is back' if watch.reachable else gone}.")
            done += _paint_all(ready, paint, results, console, stop)
            if not stop():
                sleep(SECONDS_BETWEEN_LOOKS)
    raise Interrupted(f"stopped watching '{watch.folder}'; {done} pictures were painted into '{results.folder}'.")


def _paint_all(
    ready: Sequence[Path],
    paint: Callable[[Input, Destination], None],
    results: Results,
    console: Console,
    stop: Stop,
) -> int:
    """How many could be painted."""
    done = 0
    for path in ready:
        if stop():
            break
        try:
            for_each(
                [Input(str(path), path, collected=True)],
                lambda given: paint(given, results.of(Path(given.name))),
                command="stylize",
                console=console,
            )
            done += 1
        except Exception as error:
            if not concerns_one_input(error):
                raise
            message = explain(error).message
            console.error(message if str(path) in message else f"{path}: {message}")
    return done
