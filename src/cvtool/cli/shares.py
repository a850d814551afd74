"""Which inputs of a batch are a process's own: all, where it is alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from cvtool.cli.batch import for_each
from cvtool.cli.console import Console
from cvtool.cli.inputs import Input
from cvtool.cli.outputs import Skipping

T = TypeVar("T")


class Shares:
    """A batch of a process that is alone: all inputs are its own."""

    shared = False

    def inputs(self, find: Callable[[], Sequence[Input]]) -> Sequence[Input]:
        """All inputs of the batch."""
        return find()

    def divide(self, inputs: int, together: int) -> None:
        """Say how many inputs there are, and how many are computed together."""

    def own(self, items: Sequence[T], each: int = 1) -> Sequence[T]:
        """Of what there is for all inputs (`each` for every one), that of the inputs which are this process's own."""
        return items

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
        """Call `work` on every input that is this process's own, as `batch.for_each`.

        Args:
            inputs: of this process, see `own`.
            work: reads, computes, writes and tells.
            command: its name.
            console: of the command.
            device: as given to ``--device``.
            before: called before the first input, unless there is nothing to do.
            kept: to which `work` adds what is needed of all inputs in the end, as JSON can hold it. In the end the
                first process has that of all, in the order of the inputs; the others have nothing.
            skipping: asks what is left out.

        Raises:
            CvtoolError: as `batch.for_each`, and only in the first process of several.
        """
        before()
        for_each(inputs, work, command=command, console=console)


@dataclass(frozen=True)
class Own(Sequence[T]):
    """Every n-th group of a sequence, found when it is asked for.

    Attributes:
        items: the whole.
        group: items that stay together.
        first, step: numbers of the groups: `first`, `first` + `step`, …
    """

    items: Sequence[T]
    group: int
    first: int
    step: int

    def __len__(self) -> int:
        whole, rest = divmod(len(self.items), self.group)
        complete = len(range(self.first, whole, self.step)) * self.group
        return complete + (rest if whole % self.step == self.first else 0)

    def number(self, index: int) -> int:
        """Which of all items one of these is."""
        group, place = divmod(index, self.group)
        return (group * self.step + self.first) * self.group + place

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...

    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        if isinstance(index, slice):
            return [self[each] for each in range(len(self))[index]]
        return self.items[self.number(range(len(self))[index])]

    def __iter__(self) -> Iterator[T]:
        return (self.items[self.number(index)] for index in range(len(self)))
