"""The work behind ``cvtool fool``: read, attack, write, read back what was written, and say how it does."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cvtool.cli.batch import worth_preparing
from cvtool.cli.console import Console
from cvtool.cli.fool_notes import Notes, is_shared, uses
from cvtool.cli.fool_report import Measured, facts, inputs_of, sentence, show_table, summary, tell_view, write_plot
from cvtool.cli.inputs import Input
from cvtool.cli.interrupts import stop_on_interrupt
from cvtool.cli.options import Format
from cvtool.cli.outputs import Destination, Skipping
from cvtool.cli.reading import Done, Read, Reading, entry_of, read_flat
from cvtool.cli.reporting import Report, Shown
from cvtool.cli.tables import write_table
from cvtool.cli.targets import class_index
from cvtool.cli.without_effect import without_unused
from cvtool.errors import BadInputError, GoalNotReachedError, Interrupted, UsageError, WeightsUnavailableError
from cvtool.fool.options import FoolOptions, Method

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from enum import Enum

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from cvtool.fool.results import FoolResult
    from cvtool.fool.service import Victim
    from cvtool.fool.survival import Wear
    from cvtool.models.predictions import Prediction

WHITE = 0.5
"""Above this a pixel of a mask may change."""
LOSSY = {"jpg", "webp"}
EXTRAS = {"explain": "What the network looks at, before and after", "sticker": "The patch"}
"""Second pictures that a page shows, too."""


@dataclass(frozen=True)
class Request:
    """What is asked of every picture."""

    methods: tuple[str, ...]
    options: FoolOptions
    target: str | None
    mask: Path | None
    survive: str | None
    transfer_to: tuple[str, ...]
    view: Enum
    explain: bool
    sticker: bool


def beside(destination: Destination, name: str) -> Destination:
    """Where the second picture of that name goes."""
    assert destination.path is not None
    # A sticker is for use elsewhere, and is told to work as it is: to the last bit.
    format, suffix = (Format.png, ".png") if name == "sticker" else (destination.format, destination.path.suffix)
    return Destination(destination.path.with_name(f"{destination.path.stem}-{name}{suffix}"), format)


@dataclass(frozen=True, eq=False)
class Fooling:
    """Changes one picture after the other, computing as many together as the batch allows."""

    context: typer.Context
    console: Console
    request: Request
    inputs: Sequence[Input]
    destinations: Sequence[Destination]
    skipping: Skipping
    from_noise: bool
    model_name: str
    weights: Path | None
    device_name: str
    table: Path | None
    plot: Path | None
    report: Report
    measured: list[dict[str, Any]] = field(default_factory=list)
    """Fields of `Measured`."""
    _state: dict[str, bool] = field(default_factory=dict)

    @cached_property
    def victim(self) -> Victim:
        """Of a single picture, loaded when that has been read, so that a wrong path is told at once."""
        from cvtool.fool.service import Victim
        from cvtool.models.loader import load

        return Victim.of(load(self.model_name, device=self.device_name, weights=self.weights))

    @cached_property
    def _others(self) -> dict[str, Victim]:
        from cvtool.fool.service import Victim
        from cvtool.models.loader import load

        try:
            return {name: Victim.of(load(name, device=self.device_name)) for name in self.request.transfer_to}
        except WeightsUnavailableError as error:
            raise error.advising("--transfer-to takes no file: leave it out, or fetch the weights once.") from error

    @cached_property
    def _target(self) -> int | None:
        return class_index(self.request.target, self.victim.model.card)

    @cached_property
    def _wears(self) -> tuple[Wear, ...]:
        from cvtool.fool.survival import parse_wears

        return () if self.request.survive is None else parse_wears(self.request.survive)

    @cached_property
    def _mask(self) -> NDArray[np.float32] | None:
        from cvtool.images import flatten, read_picture

        if self.request.mask is None:
            return None
        mask: NDArray[np.float32] = flatten(read_picture(self.request.mask)).mean(2)
        if mask.max() <= WHITE:
            raise BadInputError(f"The mask '{self.request.mask}' is white nowhere, so that no pixel may change.")
        return mask

    @cached_property
    def _notes(self) -> Notes:
        device, mask = str(self.victim.model.device), self.request.mask
        return Notes(self.context, self.model_name, device, self.weights, mask, self.request.options)

    def prepare(self, total: int) -> None:
        """Refuse before any work what would be refused after it; there are `total` pictures in all processes.

        Of a single one, only when it has been read: that it is not there is told without torch, at once.

        Raises:
            UsageError: the options contradict each other.
            CvtoolError: as reading the mask and loading the networks raise it.
        """
        if self.from_noise or worth_preparing(total, self.skipping, self.destinations):
            self._check()
            _ = self.victim, self._others

    def _check(self) -> None:
        from cvtool.fool.service import check_options

        for name in self.request.methods:
            options = replace(self.request.options, method=Method(name))
            check_options(options, targeted=self.request.target is not None, masked=self.request.mask is not None)
        _ = self._wears, self._mask, self._container

    def fool(self, given: Input) -> None:
        """Change one picture with all methods, write and report each.

        Raises:
            GoalNotReachedError: the written picture does not fool the network enough.
            Interrupted: Ctrl-C; the best so far has been written.
            CvtoolError: as reading, loading, attacking and writing raise them.
        """
        done = self._reading.take(self._together)
        if done is None:
            self.skipping.count += 1
            self.console.detail(f"{given.name}: its results are there already")
            return
        missed: list[str] = []
        written = self._reading.write(
            done,
            lambda each: missed.extend(self._write(each)),
            command="fool",
            console=self.console,
            stopped=self._state.get("interrupted", False),
        )
        if written is not None:
            files = (each for one in written for each in self._destinations(one.number)[: len(one.answer)])
            names = ", ".join(repr(each.name) for each in files)
            raise Interrupted(f"stopped at '{given.name}'; the best so far is in {names}.")
        if missed:
            raise GoalNotReachedError(
                f"{given.name}: not fooled as asked; the best try is in {', '.join(map(repr, missed))}. "
                "More --steps, a larger --eps or a lower --confidence may do it."
            )

    def _write(self, done: Done[list[FoolResult]]) -> list[str]:
        """Write and report the results of one picture; the files that miss the goal."""
        given, missed = self.inputs[done.number], []
        pairs = zip(done.answer, self._destinations(done.number), strict=False)  # fewer when interrupted
        for result, destination in pairs:
            missed += [] if self._finish_one(given, done.picture, result, destination) else [destination.name]
        return missed

    def finish(self) -> None:
        """Write what belongs to all pictures: how many were fooled within which change."""
        measured = [Measured(**each) for each in self.measured]
        if measured and not self.from_noise:
            tell_view(self.context, self.request.options.resize, self.console)
        if len(measured) > 1:
            show_table(measured, self.console)
        if measured and self.table is not None:
            write_table(self.table, summary(measured))
        if measured and self.plot is not None:
            self._plot(measured, self.plot)

    def _plot(self, measured: Sequence[Measured], path: Path) -> None:
        from cvtool.images import format_of, note_fits

        note = self._notes.of_plot(inputs_of(measured), self.request.methods, self.request.target, path.name)
        if not note_fits(note, format_of(path)):
            self.console.warn(f"'{path}' has no room for its provenance; png has more.")
        write_plot(measured, path, note)

    def _destinations(self, number: int) -> Sequence[Destination]:
        count = len(self.request.methods)
        return self.destinations[number * count : (number + 1) * count]

    @cached_property
    def _reading(self) -> Reading[list[FoolResult]]:
        read = self._noise if self.from_noise else read_flat
        return Reading(
            self.inputs, self._compute, read, lambda number: self.skipping.skips(number, self._destinations(number))
        )

    def _compute(self, numbers: Sequence[int], pictures: Sequence[Read]) -> list[list[FoolResult]]:
        """Attack pictures together with all methods."""
        self._check()
        _ = self._others  # a network that is not there is told before the work
        if not self.from_noise:
            read = zip(numbers, pictures, strict=True)
            self._notes.together[:] = [entry_of(self.inputs[number], picture) for number, picture in read]
        found = []
        for name in self.request.methods:
            found.append(self._attack(Method(name), [picture.pixels for picture in pictures]))
            if self._state.get("interrupted"):
                break
        return [list(each) for each in zip(*found, strict=True)]

    @cached_property
    def _together(self) -> int:
        """How many pictures are read before they are attacked: all for an attack that makes one change for all."""
        alone = len(self.inputs) == 1  # then nothing of the attacks is asked for, nor torch loaded, before it is read
        return len(self.inputs) if alone or is_shared(self.request.methods) else self.request.options.batch

    def _noise(self, _: Input) -> Read:
        import numpy as np

        side = self.victim.model.card.input_size
        noise = np.random.default_rng(self.request.options.seed).random((side, side, 3), dtype=np.float32)
        return Read(noise, "")

    def _attack(self, method: Method, pictures: list[NDArray[np.float32]]) -> list[FoolResult]:
        from cvtool.fool.service import fool

        with (
            stop_on_interrupt(lambda: self.console.say("stopping; Ctrl-C again quits at once")) as stop,
            self.console.progress() as progress,
        ):
            found = fool(
                pictures,
                self.victim,
                without_unused(replace(self.request.options, method=method), uses()),
                target=self._target,
                masks=None if self._mask is None else [self._mask_for(pixels) for pixels in pictures],
                wears=self._wears,
                container=self._container,
                progress=progress,
                stop=stop,
            )
            self._state["interrupted"] = stop()
        return found

    def _mask_for(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        import numpy as np

        from cvtool.images import resize

        assert self._mask is not None
        sized = resize(self._mask, pixels.shape[0], pixels.shape[1], "bilinear")
        return (sized > WHITE).astype(np.float32)

    @cached_property
    def _container(self) -> Callable[[Tensor], Tensor] | None:
        """What a lossy file does to pictures."""
        name = self.destinations[0].format.value
        if name not in LOSSY:
            return None
        if name == "webp":
            raise UsageError("fool writes png, tiff or jpg: webp would wash the change out. Give --format png.")
        from cvtool.fool.jpeg import jpeg
        from cvtool.images import JPEG_QUALITY

        return lambda pictures: jpeg(pictures, JPEG_QUALITY, subsampled=False)

    def _finish_one(self, given: Input, picture: Read, result: FoolResult, destination: Destination) -> bool:
        """Write, read back, judge and report; whether the written file reaches the goal."""
        from cvtool.fool.service import judge
        from cvtool.images import decode_picture, encode_picture, flatten

        started = time.perf_counter()
        inputs = () if self.from_noise else (entry_of(given, picture),)
        note = self._notes.of_result(inputs, result, destination.format)
        data = encode_picture(result.pixels, destination.format.value, note=note)
        destination.write(data, self.console)
        saved = destination.path.read_bytes() if destination.path is not None else data
        again = flatten(decode_picture(saved, destination.name))
        result = judge(result, again, self.victim)
        transfer = {name: self._transferred(again, other) for name, other in self._others.items()}
        drawn = self._draw(picture.pixels, again, result, destination, inputs)
        if self.report.wanted:
            self._show(given, (picture.pixels, again), drawn, result, destination)
        seconds = result.seconds + time.perf_counter() - started
        if self.console.wants_results:
            self.console.result(
                "fool",
                input=given.name,
                output=destination.name,
                model=self.model_name,
                device=str(self.victim.model.device),
                seed=self.request.options.seed,
                seconds=round(seconds, 3),
                **facts(result),
                transfer={name: asdict(first) for name, first in transfer.items()},
            )
        self.measured.append(asdict(Measured.of(result, inputs)))
        arrow = f"{given.name} -> {destination.name}"
        self.console.say(f"{arrow} ({sentence(result)})")
        for name in drawn:
            self.console.say(f"  {beside(destination, name).name}")
        for name, first in transfer.items():
            self.console.say(f"  {name} sees {first.name} {first.probability:.1%}")
        return result.success

    def _transferred(self, pixels: NDArray[np.float32], other: Victim) -> Prediction:
        """What another network sees."""
        from cvtool.models.framing import classify
        from cvtool.models.predictions import best_predictions

        logits = classify(pixels, other.model, self.request.options.resize, other.any_size)
        return best_predictions(other.model.card, logits.softmax(0), 1)[0]

    def _draw(
        self,
        before: NDArray[np.float32],
        after: NDArray[np.float32],
        result: FoolResult,
        destination: Destination,
        inputs: Sequence[Mapping[str, str]],
    ) -> dict[str, NDArray[np.float32]]:
        """Write the second pictures that are wanted beside the result; by name."""
        from cvtool.cli.fool_explain import explained
        from cvtool.fool import views
        from cvtool.images import encode_picture

        kind, victim, drawn = self.request.view.value, self.victim, {}
        if kind == "difference":
            drawn[kind] = views.difference(before, after)
        if kind == "panel":
            drawn[kind] = views.panel(before, after, result)
        if self.request.explain:
            drawn["explain"] = explained(before, after, victim.model, victim.any_size, result.options)
        if self.request.sticker and result.sticker is not None:
            drawn["sticker"] = result.sticker.pixels
        for name, pixels in drawn.items():
            place = beside(destination, name)
            option = {name: True} if name in EXTRAS else {"view": name}
            note = self._notes.of_result(inputs, result, destination.format, option)
            place.write(encode_picture(pixels, place.format.value, note=note), self.console)
        return drawn

    def _show(
        self,
        given: Input,
        pictures: tuple[NDArray[np.float32], NDArray[np.float32]],
        drawn: Mapping[str, NDArray[np.float32]],
        result: FoolResult,
        destination: Destination,
    ) -> None:
        """The pictures before and after, and their difference, on the page."""
        from cvtool.fool.views import GAIN, difference

        before, after = pictures
        others = {name: drawn[name] for name in EXTRAS.keys() & drawn.keys()}
        self.report.show(
            Shown(
                f"Difference × {GAIN}",
                f"What was changed, {GAIN} times as strong, around grey",
                difference(before, after),
            ),
            *(Shown(EXTRAS[name], f"{EXTRAS[name]}, {given.name}", pixels) for name, pixels in others.items()),
            pair=[
                Shown("Original", f"{given.name} before", before),
                Shown("Adversarial", f"{given.name} after the change", after),
            ],
            command=self._notes.line([] if self.from_noise else [given.lasting_name], result, destination.format),
            lead=sentence(result),
        )
