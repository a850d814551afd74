"""Batches under torchrun: every process does its part of the inputs, and the first says all that they said, in order.

What is shared are the groups of inputs that one process would compute together, so that every number is the one it
would have found: networks round differently for other sizes of a batch. Every n-th group goes to the same process,
rather than a block of the list: neighbours in a list are of like size and cost, and no process needs to know more than
its rank. All processes know the whole list, since names of results depend on it.

Nobody is waited for but by the first process at the end, so that no process stands still for a slower one.
"""

from __future__ import annotations

import atexit
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, NoReturn, TypeVar

from cvtool.cli import interrupts
from cvtool.cli.batch import Failed, attempt
from cvtool.cli.console import ERR, WARNING, Console, Said, replay, taped
from cvtool.cli.failures import explain
from cvtool.cli.input_lists import ListedInputs
from cvtool.cli.inputs import Input
from cvtool.cli.outputs import FINISHED, Skipping, check_writable, make_folder
from cvtool.cli.parts import GRACE_SECONDS, FailedElsewhere, Parts
from cvtool.cli.processes import hush
from cvtool.cli.shares import Own, Shares
from cvtool.errors import CvtoolError, GoalNotReachedError, Interrupted
from cvtool.launch import Launch, restarts_left
from cvtool.progress import Step

T = TypeVar("T")


@dataclass(eq=False)
class _Known(Sequence[int]):
    """What was done before of a process's own inputs, for `Skipping`."""

    all: bytearray
    numbers: Own[int]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: Any) -> Any:
        return self.all[self.numbers.number(index)]


@dataclass(eq=False)
class SharedBatch(Shares):
    """A batch that several processes share."""

    parts: Parts
    total: int = 0
    group: int = 1
    _worked: bool = False
    _names: Sequence[Input] = field(default_factory=list)

    shared = True

    @property
    def place(self) -> Launch:
        """This process among the others."""
        return self.parts.place

    def inputs(self, find: Callable[[], Sequence[Input]]) -> Sequence[Input]:
        """All inputs, as the first process finds them: a folder may look different a moment later.

        Raises:
            CvtoolError: as `find`, in the first process.
        """
        parts = self.parts
        if self.place.is_main:
            check_writable(parts.folder, (), "--output") if not parts.folder.is_dir() else None
        make_folder(parts.folder)
        atexit.register(self._leave)
        parts.begin()
        settled = parts.settled()
        if settled is not None:
            self._settled_before(settled)
        if self.place.is_main:
            if not parts.inputs.exists():
                try:
                    found = find()
                except BaseException as error:
                    failure = explain(error)
                    parts.fail(failure.message, failure.exit_code)
                    raise
                parts.write_inputs(lambda path: ListedInputs.of(found).save(path))
        else:
            with self._quietly():
                parts.wait(parts.inputs.exists, range(1))
        self._names = ListedInputs.load(parts.inputs)
        return self._names

    def divide(self, inputs: int, together: int) -> None:
        """Say how many inputs there are, and how many are computed together."""
        self.total, self.group = inputs, max(1, min(together, inputs))

    def own(self, items: Sequence[T], each: int = 1) -> Sequence[T]:
        """See `Shares.own`."""
        return Own(items, self.group * each, self.place.rank, self.place.size)

    def for_each(
        self,
        inputs: Sequence[Input],
        work: Callable[[Input], None],
        *,
        command: str,
        console: Console,
        device: str,
        before: Callable[[], object] = lambda: None,
        kept: list[Any] | None = None,
        skipping: Skipping | None = None,
    ) -> None:
        """See `Shares.for_each`."""
        self._worked = True
        kept = [] if kept is None else kept
        skipping = skipping or Skipping()
        if self.total == 1:  # nothing to put in order
            self._do_one(inputs, work, command, console, device, before)
            return
        try:
            with _terminated_as_interrupted():
                self._work(inputs, work, command, console, device, before, kept, skipping)
        except BaseException as error:
            self._stop(error, kept)
            raise
        self.parts.end()
        kept.clear()
        skipping.count = 0
        if self.place.is_main:
            self._finish(console, kept, skipping)

    def _do_one(
        self,
        inputs: Sequence[Input],
        work: Callable[[Input], None],
        command: str,
        console: Console,
        device: str,
        before: Callable[[], object],
    ) -> None:
        """The only input, by the first process, as if it were alone."""
        parts = self.parts
        patience: float | None = GRACE_SECONDS
        if not self.place.is_main:
            parts.end()
            return
        try:
            with _terminated_as_interrupted():
                super().for_each(inputs, work, command=command, console=console, device=device, before=before)
            patience = None
        finally:
            parts.end()
            parts.wait(parts.others_ended, parts.others, patience)
            parts.remove()

    def _work(
        self,
        inputs: Sequence[Input],
        work: Callable[[Input], None],
        command: str,
        console: Console,
        device: str,
        before: Callable[[], object],
        kept: list[Any],
        skipping: Skipping,
    ) -> None:
        numbers = Own(range(self.total), self.group, self.place.rank, self.place.size)
        known = self.parts.known(self.total)
        skipping.known = _Known(known, numbers)
        if all(known[number] == FINISHED for number in numbers):
            return
        take_device(device, self.place)
        before()
        journal = self.parts.journal()
        skipping.begins = lambda index: journal.begun(numbers[index])
        for number, given in zip(numbers, inputs, strict=True):
            if known[number] == FINISHED:
                work(given)  # which leaves it out
                continue
            self.parts.check()
            kept.clear()
            skipping.count = 0
            with taped() as said:
                try:
                    error = attempt(given, work, command=command, console=console, alone=False)
                except (Interrupted, KeyboardInterrupt):
                    if said and not interrupts.was_terminated():  # what it has come to is told, and final
                        journal.finished(number, {"said": said, "kept": kept, "left_out": 0, "failed": None})
                    raise
            missed = isinstance(error, GoalNotReachedError)
            failed = None if error is None else "missed" if missed else "bad"
            record = {"said": said, "kept": kept, "left_out": skipping.count, "failed": failed}
            journal.finished(number, record)
        journal.close()

    def _finish(self, console: Console, kept: list[Any], skipping: Skipping) -> None:
        """Wait for the others, and say what all have done."""
        parts = self.parts
        with console.progress() as progress:

            def all_there() -> bool:
                ended = sum(parts.has_ended(rank) for rank in parts.others)
                progress(Step("waiting for the other processes", ended, self.place.size - 1))
                return ended == self.place.size - 1

            try:
                parts.wait(all_there, parts.others)
                if self.total > sum(state == FINISHED for state in parts.known(self.total)):
                    raise CvtoolError(f"What was done is missing in part in '{parts.folder}'. Start again.")
            except BaseException as error:
                self._stop(error, kept)
                raise
        failed = self._tell(kept, skipping)
        try:
            failed.check(self.total)
        except Exception as error:
            failure = explain(error)
            self._settle(failure.message, failure.exit_code)
            raise
        parts.remove()

    def _tell(self, kept: list[Any], skipping: Skipping | None) -> Failed:
        """Say all that is done, in the order of the inputs."""
        failed, warned = Failed(), set[str]()
        for number, record in self.parts.records(self.total):
            replay(each for each in map(tuple, record["said"]) if _is_new(each, warned))
            kept += record["kept"]
            if skipping is not None:
                skipping.count += record["left_out"]
            if record["failed"]:
                failed.add(self._names[number].name, missed=record["failed"] == "missed")
        return failed

    def _stop(self, error: BaseException, kept: list[Any]) -> None:
        """All have to stop: the first process tells what is finished, unless all will be started again."""
        kept.clear()
        stop_together(self.parts, error, lambda: self._tell(kept, None))

    def _settle(self, message: str, exit_code: int) -> None:
        """torchrun takes the exit code for a reason to start all again: they shall find that there is nothing to do."""
        if restarts_left():
            self.parts.settle(message, exit_code)
        else:
            self.parts.remove()

    def _settled_before(self, settled: FailedElsewhere) -> NoReturn:
        self._worked = True
        self.parts.end()
        if not self.place.is_main:
            end_quietly()
        if not restarts_left():
            self.parts.wait(self.parts.others_ended, self.parts.others, GRACE_SECONDS)
            self.parts.remove()
        hush()
        raise settled

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        """What ends all is told by the first process."""
        try:
            yield
        except FailedElsewhere:
            self._worked = True
            self.parts.end()
            end_quietly()

    def _leave(self) -> None:
        """At the end of a process that never came to its work, e.g. since an option makes no sense: tidy up.

        The others wait for that: torchrun ends all as soon as one has ended in error.
        """
        if self._worked or not self.parts.folder.is_dir():
            return
        self.parts.end()
        if self.place.is_main:
            self.parts.wait(self.parts.others_ended, self.parts.others, GRACE_SECONDS)
            self.parts.remove()
        else:
            self.parts.wait(lambda: not self.parts.folder.exists(), range(0), GRACE_SECONDS)


def _is_new(said: Said, warned: set[str]) -> bool:
    """Whether a warning was not said before: Python warns once, but every process by itself."""
    where, text = said
    if where != ERR or not text.startswith(WARNING):
        return True
    new = text not in warned
    warned.add(text)
    return new


def end_quietly() -> NoReturn:
    """End without an error: torchrun would end the first process, which is about to say what is wrong."""
    hush()
    sys.exit(0)


def take_device(name: str, place: Launch) -> None:
    """A GPU for each process, if they are to compute on GPUs.

    Raises:
        UsageError: as `cvtool.distributed.device_of`.
    """
    from cvtool.distributed import device_of

    device = device_of(name, place)
    if device.type == "cuda":
        import torch

        torch.cuda.set_device(device)


def stop_together(parts: Parts, error: BaseException, conclude: Callable[[], object]) -> None:
    """After an error all have to stop: the first process does what concludes the work, unless all start again.

    Args:
        parts: of this process.
        error: what ended its work.
        conclude: makes the best of what is finished; called when no other process works any more.
    """
    asked = isinstance(error, (Interrupted, KeyboardInterrupt))
    if not asked and not isinstance(error, FailedElsewhere):
        failure = explain(error)
        parts.fail(failure.message, failure.exit_code)
    again = interrupts.was_terminated() if asked else restarts_left() > 0
    with _undisturbed():
        parts.end()
        if not parts.place.is_main:
            if not asked:
                end_quietly()
            hush()
        elif again:
            hush() if asked else None  # torchrun says why
        else:
            parts.wait(parts.others_ended, parts.others, GRACE_SECONDS)
            conclude()
            parts.remove()


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM is how torchrun ends its processes: what is half written must not stay."""

    def handle(signum: int, frame: FrameType | None) -> None:
        interrupts.terminated.set()
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """A second Ctrl-C, which torchrun passes on, does not keep us from telling what is done."""
    previous = {each: signal.signal(each, signal.SIG_IGN) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)
