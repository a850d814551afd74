"""The work behind ``cvtool visualize-class``: search, write, ask the networks what they see, and say it."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cvtool import __version__
from cvtool.cli.console import Console
from cvtool.cli.frames import Watcher
from cvtool.cli.inputs import Input, read_input
from cvtool.cli.interrupts import stop_on_interrupt
from cvtool.cli.outputs import Destination, make_folder
from cvtool.cli.repeat import command_line
from cvtool.cli.reporting import Report, Shown
from cvtool.cli.targets import class_index
from cvtool.cli.visualize_class_report import facts, sentence, write_sheet
from cvtool.errors import BadInputError, Interrupted, WeightsUnavailableError
from cvtool.visualize_class.options import Target, VisualizeOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cvtool.models.loader import Model
    from cvtool.visualize_class.service import Visualization

WITHOUT_EFFECT = frozenset({"animate", "sheet", "judge", "top_k", "batch", "channel", "neuron"})


@dataclass(frozen=True)
class Wish:
    """One thing to visualise, as the user named it.

    Attributes:
        text: the class as given, or the unit's name.
        target: the unit; None for a class, whose index depends on the network.
    """

    text: str
    target: Target | None = None


@dataclass(frozen=True)
class Job:
    """One picture: a wish, and which of its pictures."""

    wish: Wish
    variant: int
    variants: int

    @property
    def name(self) -> str:
        """What the user sees."""
        return self.wish.text if self.variants == 1 else f"{self.wish.text} {self.variant + 1}"

    @property
    def file_stem(self) -> str:
        """The name as part of a file's; dots stay, they are in names of layers."""
        words = "".join(letter if letter.isalnum() or letter in ".-" else " " for letter in self.wish.text).split()
        return "-".join(words).lower() or "target"

    @property
    def detail(self) -> str:
        """Tells the pictures of one wish apart."""
        return "" if self.variants == 1 else str(self.variant + 1)


@dataclass(frozen=True)
class Files:
    """What is read and written besides the pictures; None for what was not asked for."""

    start: Input | None
    spectra: tuple[Input, ...]
    direction: Path | None
    weights: Path | None
    animate: Path | None
    sheet: Path | None


@dataclass(frozen=True, eq=False)
class Visualizing:
    """Makes the pictures, as many wishes together as the batch allows."""

    context: typer.Context
    console: Console
    options: VisualizeOptions
    wishes: tuple[Wish, ...]
    jobs: tuple[Job, ...]
    destinations: tuple[Destination, ...]
    files: Files
    model_names: tuple[str, ...]
    judge_names: tuple[str, ...]
    device_name: str
    report: Report
    _state: dict[str, Any] = field(default_factory=lambda: {"next": 0})
    _loaded: dict[str, Model] = field(default_factory=dict)
    _ready: dict[Wish, list[Visualization]] = field(default_factory=dict)
    _finished: list[tuple[str, NDArray[np.float32]]] = field(default_factory=list)

    @cached_property
    def models(self) -> list[Model]:
        """The networks that are climbed."""
        return [self._network(name, "--ensemble") for name in self.model_names]

    @cached_property
    def judges(self) -> list[Model]:
        """The networks that are only asked."""
        return [self._network(name, "--judge") for name in self.judge_names]

    def _network(self, text: str, option: str) -> Model:
        """The network called ``NAME`` or ``NAME=FILE`` by `option`; the same again is not loaded again."""
        from cvtool.models.loader import load

        if text not in self._loaded:
            name, _, file = text.partition("=")
            is_first = text == self.model_names[0]
            weights = self.files.weights if is_first else None
            try:
                self._loaded[text] = load(name, device=self.device_name, weights=Path(file) if file else weights)
            except WeightsUnavailableError as error:
                if is_first:
                    raise
                raise error.advising(f"Give the file as {option} {name}=FILE.") from error
        return self._loaded[text]

    @cached_property
    def _start(self) -> tuple[NDArray[np.float32], str] | None:
        from cvtool.images import flatten

        if self.files.start is None:
            return None
        picture, digest = read_input(self.files.start)
        return flatten(picture), digest

    @cached_property
    def _spectra(self) -> list[tuple[NDArray[np.float32], str]]:
        from cvtool.images import flatten

        found = [read_input(given) for given in self.files.spectra]
        return [(flatten(picture), digest) for picture, digest in found]

    @cached_property
    def _direction(self) -> tuple[tuple[float, ...], str]:
        """The numbers in the file, and its SHA-256."""
        if self.files.direction is None:
            return (), ""
        return read_direction(self.files.direction)

    def prepare(self) -> None:
        """Refuse before any work what would be refused after it.

        Raises:
            BadInputError: the start, the direction or a picture for the spectrum cannot be read.
            UsageError: unknown networks, classes, layers or channels, or options that do not fit together.
        """
        from cvtool.visualize_class.service import check

        _ = self._start, self._spectra, self._direction, self.judges
        check(self._targets, self.models, self.options, init=self._start is not None)
        if self.files.animate is not None:
            make_folder(self.files.animate.parent)

    @cached_property
    def _targets(self) -> list[Target]:
        """One for each wish."""
        from cvtool.visualize_class.objectives import check_target

        found, first = [], self.models[0]
        for wish in self.wishes:
            if wish.target is None:
                check_target(Target(index=0), first)
                found.append(Target(index=class_index(wish.text, first.card)))
            else:
                found.append(replace(wish.target, direction=self._direction[0]))
        return found

    def visualize(self, job: Job) -> None:
        """Make one picture, with all that are worked on together, write it and report it.

        Raises:
            Interrupted: Ctrl-C; the pictures so far have been written.
            CvtoolError: as loading, searching and writing raise them.
        """
        number = self._state["next"]
        self._state["next"] += 1
        if job.wish not in self._ready:
            if self._state.get("interrupted"):
                raise Interrupted(f"stopped; what was begun is written, '{job.name}' and what follows is not.")
            self._compute(job.wish)
        found = self._ready[job.wish][job.variant]
        self._finish_one(job, found, self.destinations[number])
        last = number + 1 == len(self.jobs)
        if self._state.get("interrupted") and (last or self.jobs[number + 1].wish not in self._ready):
            raise Interrupted(
                f"stopped after {found.steps} steps; the picture so far is in '{self.destinations[number].name}'."
            )

    def finish(self) -> None:
        """Write the sheet of all pictures."""
        if self.files.sheet is not None and self._finished:
            sheet = self.files.sheet
            write_sheet(self._finished, self.options.diversity, sheet, self._note_of_sheet(sheet.name))
            self.console.say(f"all pictures -> {self.files.sheet}")

    def _compute(self, wish: Wish) -> None:
        """Search for the pictures of this wish and of those that are worked on together with it."""
        from cvtool.visualize_class.service import batch_of, visualize

        place = self.wishes.index(wish)
        together = slice(place, place + batch_of(self.options, self.models[0].device))
        watcher = Watcher(None, self.files.animate)
        with (
            stop_on_interrupt(
                lambda: self.console.say("stopping at the next step; Ctrl-C again quits at once")
            ) as stop,
            self.console.progress() as progress,
        ):
            found = visualize(
                self._targets[together],
                self.models,
                self.options,
                init=None if self._start is None else self._start[0],
                spectrum_of=[pixels for pixels, _ in self._spectra],
                judges=self.judges,
                progress=progress,
                stop=stop,
                preview=watcher if watcher.wanted else None,
            )
            self._state["interrupted"] = stop()
        job, destination = self.jobs[0], self.destinations[0]  # of an animation, the only ones
        watcher.finish(found[0].pixels, lambda shown: self._note(job, found[0], destination, shown))
        for number, each in enumerate(self.wishes[together]):
            count = self.options.diversity
            self._ready[each] = found[number * count : (number + 1) * count]

    def _finish_one(self, job: Job, found: Visualization, destination: Destination) -> None:
        from cvtool.images import encode_picture

        started = time.perf_counter()
        note = self._note(job, found, destination)
        destination.warn_without_room(note, self.console)
        data = encode_picture(found.pixels, destination.format.value, alpha=found.alpha, note=note)
        destination.write(data, self.console)
        self._finished.append((self._label(found, job), found.visible()))
        seconds = found.seconds + time.perf_counter() - started
        if self.report.wanted:
            self._show(job, found, destination)
        if self.console.wants_results:
            self.console.result(
                "visualize-class",
                input=job.wish.text,
                output=destination.name,
                model=self.model_names[0],
                device=str(self.models[0].device),
                seed=self.options.seed,
                seconds=round(seconds, 3),
                ensemble=list(self.model_names),
                variant=job.variant + 1,
                **facts(found),
            )
        self.console.say(f"{job.name} -> {destination.name} ({sentence(found)}, {seconds:.1f} s)")

    def _show(self, job: Job, found: Visualization, destination: Destination) -> None:
        """The picture on the page, beside the one that it began with, if that was given."""
        shown = Shown("Result", f"What excites {job.name}", found.pixels, found.alpha)
        command, said = self._command_line(job, found, destination), sentence(found)
        if self._start is None or self.files.start is None:
            self.report.show(shown, command=command, lead=said)
        else:
            start = Shown("Start", f"The start {self.files.start.name}", self._start[0])
            self.report.show(pair=[start, shown], command=command, lead=said)

    def _label(self, found: Visualization, job: Job) -> str:
        return job.wish.text if found.of_target is None else found.of_target.name

    def _note(
        self, job: Job, found: Visualization, destination: Destination, shown: dict[str, str] | None = None
    ) -> str:
        """The provenance of one picture, as text; with the option, and its file, that shows it another way."""
        options = asdict(found.options) | {"target": _without_direction(found.target), "variant": job.variant + 1}
        return self._provenance(self._command_line(job, found, destination, shown), {**options, **(shown or {})})

    def _note_of_sheet(self, name: str) -> str:
        """The provenance of the sheet of all pictures, as text."""
        line = command_line(
            self.context,
            [wish.text for wish in self.wishes if wish.target is None],
            replaced={**self._lasting, "sheet": name},
            dropped=WITHOUT_EFFECT - {"sheet", "channel", "neuron"} | {"format"},
        )
        found = next(iter(self._ready.values()))[0]
        shown = {"targets": [label for label, _ in self._finished], "sheet": name}
        return self._provenance(line, asdict(found.options) | shown)

    def _provenance(self, line: str, options: dict[str, Any]) -> str:
        """What all pictures have in common, with this."""
        from cvtool.provenance import Provenance

        read = [(given, digest) for given, (_, digest) in zip(self.files.spectra, self._spectra, strict=True)]
        if self.files.start is not None and self._start is not None:
            read.append((self.files.start, self._start[1]))
        inputs = [{"path": given.lasting_name, "sha256": digest} for given, digest in read]
        if self.files.direction is not None:
            inputs.append({"path": str(self.files.direction.resolve()), "sha256": self._direction[1]})
        return Provenance(
            command="visualize-class",
            version=__version__,
            command_line=line,
            options=options,
            inputs=tuple(inputs),
            model=",".join(self.model_names),
            device=str(self.models[0].device),
            seed=self.options.seed,
        ).to_json()

    @property
    def _lasting(self) -> dict[str, Any]:
        """Options that name files, with names that hold in any folder."""
        files = self.files
        return {
            "weights": files.weights,
            "init": None if files.start is None else files.start.lasting_name,
            "spectrum": [given.lasting_name for given in files.spectra] or None,
            "direction": files.direction,
        }

    def _command_line(
        self, job: Job, found: Visualization, destination: Destination, shown: dict[str, str] | None = None
    ) -> str:
        target, shown = job.wish.target, shown or {}
        line = command_line(
            self.context,
            [job.wish.text] if target is None else [],
            replaced={**self._lasting, "format": destination.format, "steps": found.steps, **shown},
            dropped=WITHOUT_EFFECT.difference(shown),
        )
        if target is not None and target.number is not None:
            line += f" --{target.unit.value} {target.number}"
        return line


def _without_direction(target: Target) -> dict[str, Any]:
    """The target as data; a direction may have thousands of numbers, and is in a file."""
    return {name: value for name, value in asdict(target).items() if name != "direction"}


def read_direction(path: Path) -> tuple[tuple[float, ...], str]:
    """One number per channel from a ``.npy`` file, and the file's SHA-256.

    Raises:
        BadInputError: it cannot be read, or does not hold a row of finite numbers that are not all 0.
    """
    import numpy as np

    from cvtool import files
    from cvtool.array_files import decode_numbers

    data = files.read_input(path)
    try:
        values = decode_numbers(data)
        numbers = values.astype(np.float64) if values.ndim == 1 else None
    except ValueError as error:
        raise BadInputError(f"'{path}' is not a .npy file of numbers. Save it with numpy.save.") from error
    if numbers is None or not np.isfinite(numbers).all() or not numbers.any():
        raise BadInputError(f"'{path}' must hold one row of finite numbers, not all 0: one for each channel.")
    return tuple(numbers.tolist()), sha256(data).hexdigest()
