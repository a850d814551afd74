"""Pictures read some at a time, so that they can be computed together; a bad one does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from cvtool.cli.batch import attempt
from cvtool.cli.console import Console
from cvtool.cli.inputs import Input, read_input
from cvtool.cli.interrupts import end_if_unheard, finish_on_interrupt
from cvtool.errors import BadInputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

A = TypeVar("A")


@dataclass(frozen=True, eq=False)
class Read:
    """A picture that was read.

    Attributes:
        pixels: (H, W, 3) float32 in [0, 1].
        digest: SHA-256 (hex) of its file.
    """

    pixels: NDArray[np.float32]
    digest: str


@dataclass(frozen=True, eq=False)
class Done(Generic[A]):
    """A picture and what was computed of it."""

    number: int
    picture: Read
    answer: A


@dataclass(eq=False)
class Reading(Generic[A]):
    """Hands out, one after the other, inputs that are computed some at a time.

    Attributes:
        inputs: in the order in which they are asked for.
        compute: numbers of inputs and their pictures → an answer for each.
        read: an input → its picture; may raise `BadInputError`.
        leave_out: whether nothing is to be done for the input of that number.
    """

    inputs: Sequence[Input]
    compute: Callable[[Sequence[int], Sequence[Read]], Sequence[A]]
    read: Callable[[Input], Read]
    leave_out: Callable[[int], bool] = lambda number: False
    ready: dict[int, Done[A] | BadInputError | None] = field(default_factory=dict)
    _next: int = 0

    def take(self, together: int) -> Done[A] | None:
        """The next input's answer, which `together` inputs at most are computed for; None: it was left out.

        Raises:
            BadInputError: it cannot be read.
            CvtoolError: as `compute` raises them.
            KeyboardInterrupt: Ctrl-C came too late for what was done before, and more would have to be computed.
        """
        number, self._next = self._next, self._next + 1
        if number not in self.ready:
            self._fill(range(number, min(len(self.inputs), number + together)))
        found = self.ready.pop(number)
        if isinstance(found, BadInputError):
            raise found
        return found

    def rest(self) -> list[Done[A]]:
        """What is computed and not taken yet."""
        return [found for _, found in sorted(self.ready.items()) if isinstance(found, Done)]

    def write(
        self, done: Done[A], write: Callable[[Done[A]], None], *, command: str, console: Console, stopped: bool = False
    ) -> list[Done[A]] | None:
        """Write an answer; after Ctrl-C, now or before, also all others that are computed.

        Args:
            done: was taken.
            write: writes one, and tells of it.
            command: its name.
            console: of the command.
            stopped: Ctrl-C was pressed while they were computed.

        Returns:
            after Ctrl-C what was written, else None.

        Raises:
            KeyboardInterrupt: Ctrl-C once more.
            CvtoolError: as `write` raises them; of the others only what does not concern that one alone.
        """
        notice = "writing what is computed; Ctrl-C again quits at once"
        with finish_on_interrupt(lambda: console.say(notice), stopped=stopped) as stop:
            write(done)
            if not stop():
                return None
            written = [done]
            for other in self.rest():

                def work(_: Input, it: Done[A] = other) -> None:
                    write(it)

                given = self.inputs[other.number]
                error = attempt(given, work, command=command, console=console, alone=False)
                written += [other] if error is None else []
            return written

    def _fill(self, numbers: range) -> None:
        end_if_unheard()
        pictures: dict[int, Read] = {}
        for number in numbers:
            try:
                if self.leave_out(number):
                    self.ready[number] = None
                else:
                    pictures[number] = self.read(self.inputs[number])
            except BadInputError as error:
                self.ready[number] = error
        if pictures:
            answers = self.compute(list(pictures), list(pictures.values()))
            for (number, picture), answer in zip(pictures.items(), answers, strict=True):
                self.ready[number] = Done(number, picture, answer)


def read_flat(given: Input) -> Read:
    """The picture without transparency, on white.

    Raises:
        BadInputError: as `read_input`.
    """
    from cvtool.images import flatten

    picture, digest = read_input(given)
    return Read(flatten(picture), digest)


def entry_of(given: Input, picture: Read) -> dict[str, str]:
    """A picture as one of the inputs of a `Provenance`."""
    return {"path": given.lasting_name, "sha256": picture.digest}
