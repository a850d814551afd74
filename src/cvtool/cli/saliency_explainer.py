"""The work behind ``cvtool saliency``: read, explain, draw, write, and say what was found."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cvtool.cli.batch import worth_preparing
from cvtool.cli.console import Console
from cvtool.cli.inputs import Input
from cvtool.cli.outputs import Destination, Skipping
from cvtool.cli.reading import Done, Read, Reading, entry_of, read_flat
from cvtool.cli.reporting import Report
from cvtool.cli.saliency_drawing import draw, show
from cvtool.cli.saliency_notes import Notes, uses
from cvtool.cli.saliency_raw import Raw
from cvtool.cli.saliency_report import ALL, AUTO, Answer, facts, names_of, sentence
from cvtool.cli.saliency_view import judged_resize
from cvtool.cli.targets import class_index
from cvtool.cli.without_effect import without_unused
from cvtool.errors import Interrupted, UsageError
from cvtool.saliency.options import Method, SaliencyOptions

if TYPE_CHECKING:
    from enum import Enum

    import numpy as np
    from numpy.typing import NDArray

    from cvtool.annotations import Boxes, LabelledBox
    from cvtool.models.cards import Resize
    from cvtool.saliency.service import Explainer, Explanation
    from cvtool.saliency.views import Scale

MOST_TOGETHER = 16
"""Pictures that are read before they are explained, unless told otherwise."""
SLOW_SECONDS = 1.0
"""Of ``all``, a method that takes longer is told of when it ends."""


@dataclass(frozen=True)
class Request:
    """What is asked of every picture."""

    methods: tuple[str, ...]
    options: SaliencyOptions
    target: str | None
    contrast: str | None
    baseline: Path | None
    view: Enum
    evaluate: bool
    boxes: str | None
    same_scale: bool
    follow: bool
    """Show the network pictures that were made to fool one as they were judged."""


@dataclass(frozen=True, eq=False)
class Explaining:
    """Explains one picture after the other, computing as many together as the batch allows."""

    context: typer.Context
    console: Console
    request: Request
    inputs: Sequence[Input]
    destinations: Sequence[Destination]
    skipping: Skipping
    model_name: str
    weights: Path | None
    device_name: str
    raw: Path | None
    table: Path | None
    report: Report
    measured: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    """Input, method, fields of an `Evaluation`."""
    _scales: dict[Method, Scale] = field(default_factory=dict)
    _state: dict[str, bool] = field(default_factory=dict)

    @cached_property
    def explainer(self) -> Explainer:
        """Of a single picture, loaded when that has been read, so that a wrong path is told at once."""
        from cvtool.models.loader import load
        from cvtool.saliency.service import Explainer

        return Explainer.of(load(self.model_name, device=self.device_name, weights=self.weights))

    @cached_property
    def _forgetful(self) -> Explainer:
        from cvtool.saliency.evaluation import shuffled

        return replace(self.explainer, model=shuffled(self.explainer.model, self.request.options.seed))

    @cached_property
    def _raw(self) -> Raw | None:
        return None if self.raw is None else Raw(self.raw)

    @cached_property
    def _classes(self) -> tuple[int | None, int | None]:
        from cvtool.saliency.service import check_other_class

        card = self.explainer.model.card
        target, contrast = class_index(self.request.target, card), class_index(self.request.contrast, card)
        check_other_class(target, contrast)
        return target, contrast

    @cached_property
    def _baseline(self) -> NDArray[np.float32] | None:
        from cvtool.images import flatten, read_picture

        return None if self.request.baseline is None else flatten(read_picture(self.request.baseline))

    @cached_property
    def _notes(self) -> Notes:
        asked, device = self.request, str(self.explainer.model.device)
        return Notes(self.context, self.model_name, device, self.weights, asked.baseline, asked.view, asked.options)

    @cached_property
    def _boxes(self) -> Boxes:
        from cvtool.annotations import read_boxes

        return {} if self.request.boxes is None else read_boxes(self.request.boxes)

    def prepare(self, inputs: Sequence[Input]) -> None:
        """Refuse before any work what would be refused after it.

        Args:
            inputs: all of them, also those of other processes.

        Raises:
            UsageError: a contrast for a method that knows none, or that is the target; boxes of other pictures.
            BadInputError: the boxes cannot be read; of several pictures, also the weights or the baseline.
            CvtoolError: of several pictures, as loading the network raises it.
        """
        if self.request.boxes is not None and not any(given.stem in self._boxes for given in inputs):
            raise UsageError(f"None of the pictures has boxes in '{self.request.boxes}'. The files' names must agree.")
        if self.request.contrast is not None:
            from cvtool.saliency.service import check_contrast

            for name in self.request.methods:
                if name not in (ALL, AUTO):
                    check_contrast(Method(name))
        if worth_preparing(len(inputs), self.skipping, self.destinations):
            _ = self.explainer, self._baseline, self._classes

    def explain(self, given: Input) -> None:
        """Explain one picture with all methods, write and report each.

        Raises:
            Interrupted: Ctrl-C; the methods that were done have been written.
            KeyboardInterrupt: Ctrl-C before one was done.
            CvtoolError: as reading, loading, explaining and writing raise them.
        """
        options = self.request.options
        together = len(self.inputs) if self.request.same_scale else options.batch or MOST_TOGETHER
        done = self._reading.take(together)
        if done is None:
            self.skipping.count += 1
            return
        stopped = self._state.get("interrupted", False)
        if stopped and not any(each.answer for each in (done, *self._reading.rest())):
            raise KeyboardInterrupt
        written = self._reading.write(done, self._write, command="saliency", console=self.console, stopped=stopped)
        if written is not None:
            raise Interrupted(f"stopped at '{given.name}'; what was done is in {self._names_of(written)}.")

    def _names_of(self, found: Sequence[Done[list[Answer]]]) -> str:
        files = (each for done in found for each in self._destinations(done.number)[: len(done.answer)])
        return ", ".join(repr(each.name) for each in files)

    def _write(self, done: Done[list[Answer]]) -> None:
        """Write and report the results of one picture; after Ctrl-C they are fewer."""
        for answer, destination in zip(done.answer, self._destinations(done.number), strict=False):
            self._finish_one(self.inputs[done.number], done.picture, answer, destination)

    def finish(self) -> None:
        """Write what belongs to all pictures: raw maps, the ranking of the methods."""
        if self._raw is not None:
            self._raw.write()
        if len(self.measured) > 1:
            from cvtool.cli.saliency_table import show_ranking
            from cvtool.saliency.evaluation import Evaluation

            measured = [(name, method, Evaluation(**found)) for name, method, found in self.measured]
            on_stdout = any(each.path is None for each in self.destinations[:1])
            show_ranking(measured, self.table, self.console, aside=on_stdout)

    @cached_property
    def _reading(self) -> Reading[list[Answer]]:
        return Reading(
            self.inputs,
            self._compute,
            read_flat,
            lambda number: self.skipping.skips(number, self._destinations(number)),
        )

    def _destinations(self, number: int) -> Sequence[Destination]:
        count = len(self.request.methods)
        return self.destinations[number * count : (number + 1) * count]

    def _compute(self, numbers: Sequence[int], pictures: Sequence[Read]) -> list[list[Answer]]:
        """Explain pictures together with all methods; those that the network is to see in another way, apart."""
        if self.request.same_scale:
            read = zip(numbers, pictures, strict=True)
            self._notes.scaled[:] = [entry_of(self.inputs[number], picture) for number, picture in read]
        ways = [self._resize_of(self.inputs[number]) for number in numbers]
        found: dict[int, list[Answer]] = {}
        for way in dict.fromkeys(ways):
            places = [place for place, each in enumerate(ways) if each is way]
            options = replace(self.request.options, resize=way)
            numbered = [numbers[place] for place in places]
            pixels = [pictures[place].pixels for place in places]
            answers = []
            try:
                for name in self.request.methods:
                    if not self._state.get("interrupted"):
                        answers.append(self._ask(name, numbered, pixels, options))
            except KeyboardInterrupt:
                self._state["interrupted"] = True
            found |= zip(places, map(list, zip(*answers, strict=True)), strict=False)
        return [found.get(place, []) for place in range(len(ways))]

    def _resize_of(self, given: Input) -> Resize:
        """How the network is shown this picture: one that fools in one way may look unharmed in another."""
        own = self.request.options.resize
        judged = judged_resize(given) if self.request.follow else None
        if judged in (None, own):
            return own
        if not self._state.get("followed"):
            self._state["followed"] = True
            self.console.say(f"{given.name} was made to fool with --resize {judged.value}, so that is shown here, too.")
        return judged

    def _ask(
        self, name: str, numbers: Sequence[int], pictures: Sequence[NDArray[np.float32]], options: SaliencyOptions
    ) -> list[Answer]:
        """What one method, or ``all`` or ``auto``, says of the pictures."""
        from cvtool.saliency.methods import METHODS

        if name not in (ALL, AUTO):
            found = self._explain(without_unused(replace(options, method=Method(name)), uses()), pictures)
            return [self._answer(name, [each], number) for each, number in zip(found, numbers, strict=True)]
        by_method, refused = [], UsageError("No method fits this network.")
        tried = [method for method in Method if name == ALL or not METHODS[method].slow]
        if not self._state.get("announced"):
            self._state["announced"] = True
            self.console.say(f"{name}: {len(tried)} methods, which takes minutes without a GPU")
        for number, method in enumerate(tried, 1):
            started = time.perf_counter()
            try:
                by_method.append(self._explain(replace(options, method=method), pictures))
            except UsageError as error:
                refused = error
                self.console.detail(f"{method.value} is left out: {error}")
            except KeyboardInterrupt:
                if name == AUTO or not by_method:
                    raise
                self._state["interrupted"] = True
                break
            seconds = time.perf_counter() - started
            if seconds >= SLOW_SECONDS:
                self.console.say(f"  {method.value}: {seconds:.1f} s ({number} of {len(tried)} methods)")
        if not by_method:
            raise refused
        by_picture = [list(each) for each in zip(*by_method, strict=True)]
        answer = self._best if name == AUTO else partial(self._answer, name)
        return [answer(each, number) for each, number in zip(by_picture, numbers, strict=True)]

    def _best(self, explanations: Sequence[Explanation], number: int) -> Answer:
        """The map with the highest insertion − deletion."""
        from cvtool.saliency.evaluation import insertion_and_deletion

        scores = []
        for each in explanations:
            insertion, deletion = insertion_and_deletion(each, self.explainer.model)
            scores.append(insertion - deletion)
            self.console.detail(f"{each.method.value}: insertion {insertion:.3f}, deletion {deletion:.3f}")
        winner = explanations[scores.index(max(scores))]
        return self._answer(AUTO, [winner], number)

    def _answer(self, name: str, explanations: Sequence[Explanation], number: int) -> Answer:
        """With its measures, if they are wanted; ``auto`` always shows them."""
        from cvtool.saliency.evaluation import evaluate

        if self._state.get("interrupted") or (not self.request.evaluate and name != AUTO):
            return Answer(name, tuple(explanations), (None,) * len(explanations))
        boxes = self._boxes_for(self.inputs[number], explanations[0])
        evaluations = [evaluate(each, self.explainer, self._forgetful, boxes) for each in explanations]
        return Answer(name, tuple(explanations), tuple(evaluations))

    def _boxes_for(self, given: Input, explanation: Explanation) -> tuple[LabelledBox, ...]:
        """Of the objects of the target's class if there are such, else of all objects."""
        from cvtool.annotations import boxes_of

        return boxes_of(names_of(explanation.target), self._boxes.get(given.stem, ()))

    def _explain(self, options: SaliencyOptions, pictures: Sequence[NDArray[np.float32]]) -> list[Explanation]:
        from cvtool.saliency.service import explain

        target, contrast = self._classes
        with self.console.progress() as progress:
            return explain(
                pictures,
                self.explainer,
                options,
                target=target,
                contrast=contrast,
                baseline=self._baseline,
                progress=progress,
            )

    def _scale(self, explanation: Explanation) -> Scale:
        from cvtool.saliency.views import scale_of

        if not self.request.same_scale:
            return scale_of([explanation.map], explanation.signed)
        if explanation.method not in self._scales:
            others = [each for done in self._reading.rest() for answer in done.answer for each in answer.explanations]
            maps = [explanation.map, *(each.map for each in others if each.method is explanation.method)]
            self._scales[explanation.method] = scale_of(maps, explanation.signed)
        return self._scales[explanation.method]

    def _finish_one(self, given: Input, picture: Read, answer: Answer, destination: Destination) -> None:
        from cvtool.images import encode_picture

        started = time.perf_counter()
        drawn = draw(picture.pixels, answer, self.request.view.value, self._scale)
        note = self._notes.of_result(given, picture, answer, destination.format)
        destination.warn_without_room(note, self.console)
        destination.write(encode_picture(drawn, destination.format.value, note=note), self.console)
        seconds = sum(each.seconds for each in answer.explanations) + time.perf_counter() - started
        for each, evaluation in zip(answer.explanations, answer.evaluations, strict=True):
            if self._raw is not None:
                self._raw.add(given.name, picture.pixels, each)
            if evaluation is not None:
                self.measured.append((given.name, each.method.value, asdict(evaluation)))
        if self.report.wanted:
            command = self._notes.line(given, answer, destination.format)
            show(self.report, given.name, (picture.pixels, drawn), answer, command, self._scale)
        self._report(given, destination, answer, seconds)

    def _report(self, given: Input, destination: Destination, answer: Answer, seconds: float) -> None:
        first = answer.explanations[0]
        if self.console.wants_results:
            self.console.result(
                "saliency",
                input=given.name,
                output=destination.name,
                model=self.model_name,
                device=str(self.explainer.model.device),
                seed=self.request.options.seed,
                seconds=round(seconds, 3),
                **facts(answer),
            )
        layer = f", layer {first.layer}" if first.layer and answer.name != ALL else ""
        name = f"{AUTO}: {first.method.value}" if answer.name == AUTO else answer.name
        self.console.say(
            f"{given.name} -> {destination.name} ({name}{layer}: {first.target.name} {first.target.probability:.1%})"
        )
        if first.target == first.contrast:
            self.console.warn(f"{given.name}: the contrast is the class itself, so the map is empty.")
        evaluation = answer.evaluations[0]
        if evaluation is not None and answer.name != ALL:
            self.console.say(sentence(evaluation))
