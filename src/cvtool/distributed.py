"""Several processes that train one model: who they are, and what they tell each other.

Started by torchrun (or whatever sets its variables), by gloo on CPUs and NCCL on GPUs. The promise is the result of one
process with the same batch: a `Share` of every batch goes to each process, random numbers are drawn for the whole batch
and cut, losses are divided by the whole batch's numbers, and gradients are summed.

Gradients are summed by one `all_reduce` of all of them after the backward pass, not by DistributedDataParallel: that
averages, which is not the mean over pictures when shares differ by one; it starts from the one `forward` it wraps, but
a captioner is called in parts and a discriminator once for the game and again inside a penalty, whose
`torch.autograd.grad` DDP's documentation excludes; and it expects a gradient from every process, but the last batch of
an epoch may have no picture left for some. What is lost is its overlap of sending with the backward pass;
docs/scaling.md works out what that is worth.
"""

from __future__ import annotations

import io
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from cvtool.connections import notice_silence
from cvtool.errors import CvtoolError, UsageError
from cvtool.launch import Launch, launch
from cvtool.tensors import choose_device

T = TypeVar("T")

PATIENCE = timedelta(hours=2)
"""How long processes wait for one that lives, e.g. until the first has judged; gloo notices the dead at once."""
_PAUSE = 0.01
"""Seconds between two looks whether another process has come."""
HEARING_SECONDS = 1.0
"""How long the first process waits for others to fail, too."""
_FAILURES = "cvtool/failures"


@dataclass(frozen=True)
class Share:
    """The rows of a batch that one process takes.

    Attributes:
        total: rows of the batch.
        start, stop: those taken.
    """

    total: int
    start: int
    stop: int

    @classmethod
    def whole(cls, total: int) -> Share:
        """All rows, as a process that is alone takes them."""
        return cls(total, 0, total)

    @property
    def rows(self) -> slice:
        """Of an array of the whole batch."""
        return slice(self.start, self.stop)

    @property
    def count(self) -> int:
        """How many."""
        return self.stop - self.start

    @property
    def weight(self) -> float:
        """Of this process's mean in the mean of the batch; the weights of all processes are 1 together."""
        return self.count / self.total

    def draw(self, draw: Callable[[int], Tensor]) -> Tensor:
        """The rows of what is drawn for the whole batch: every process draws all of it, so that nothing differs."""
        return draw(self.total)[self.rows]


class Group:
    """All processes of a run, as seen by one of them. A group of one does nothing, and costs nothing."""

    def __init__(self, place: Launch | None = None, device: torch.device | None = None) -> None:
        self.place = place or Launch()
        self.device = device or torch.device("cpu")

    @property
    def rank(self) -> int:
        """The number of this process, from 0."""
        return self.place.rank

    @property
    def size(self) -> int:
        """How many processes there are."""
        return self.place.size

    @property
    def is_main(self) -> bool:
        """Whether this process writes and measures for all."""
        return self.rank == 0

    def share(self, total: int) -> Share:
        """This process's rows of `total`: neighbours, in the order of the processes, as many for each, or one more."""
        return Share(total, total * self.rank // self.size, total * (self.rank + 1) // self.size)

    def sum_(self, x: Tensor) -> Tensor:
        """Add the tensors of all processes, in place; all get the same bits."""
        if self.size > 1:
            with _answers():
                dist.all_reduce(x)
        return x

    def sums(self, facts: Mapping[str, float]) -> dict[str, float]:
        """Numbers added over all processes, in double precision."""
        if self.size == 1:
            return dict(facts)
        numbers = torch.tensor(list(facts.values()), dtype=torch.float64, device=self.device)
        return dict(zip(facts, self.sum_(numbers).tolist(), strict=True))

    def means(self, facts: Mapping[str, Tensor], share: Share) -> dict[str, Tensor]:
        """Scalars that are means over this process's rows → over the batch's."""
        if self.size == 1:
            return dict(facts)
        numbers = torch.stack([each.detach().double() for each in facts.values()]) * share.weight
        return dict(zip(facts, self.sum_(numbers.to(self.device)).cpu(), strict=True))

    def any(self, asked: bool) -> bool:
        """Whether any process says so."""
        return self.sums({"asked": float(asked)})["asked"] > 0

    def gathered(self, x: Tensor, share: Share) -> Tensor:
        """Rows (count, …) without gradient of this process → the batch's (total, …)."""
        if self.size == 1:
            return x.detach()
        whole = x.new_zeros(share.total, *x.shape[1:])
        whole[share.rows] = x.detach()
        return self.sum_(whole)

    @torch.no_grad()
    def deviation(self, x: Tensor) -> Tensor:
        """Standard deviation of all numbers of a batch (count, …), not corrected."""
        if self.size == 1:
            return x.std(correction=0)
        wide = x.double()
        total, count = self.sum_(torch.stack([wide.sum(), wide.new_tensor(float(x.numel()))])).unbind()
        return (self.sum_((wide - total / count).square().sum()) / count).sqrt().to(x.dtype)

    @torch.no_grad()
    def sum_gradients(self, weights: Iterable[Tensor]) -> None:
        """Add up the gradients of all processes; a weight that has one nowhere is left without."""
        if self.size == 1:
            return
        known = list(weights)
        parts = [torch.zeros_like(each) if each.grad is None else each.grad for each in known]
        there = torch.tensor([float(each.grad is not None) for each in known], device=known[0].device)
        flat = self.sum_(torch.cat([*(part.reshape(-1) for part in parts), there]))
        *summed, there = torch.split(flat, [*(each.numel() for each in known), len(known)])
        for each, part, total, anywhere in zip(known, parts, summed, there.tolist(), strict=True):
            if anywhere:
                each.grad = part.copy_(total.view(each.shape))  # as the weight lies in memory: fused Adam relies on it

    def from_main(self, value: T) -> T:
        """What the first process has, for all: tensors, numbers, texts, None, and lists and mappings of them."""
        if self.size == 1:
            return value
        data = torch.empty(0, dtype=torch.uint8)
        if self.is_main:
            buffer = io.BytesIO()
            torch.save(value, buffer)
            data = torch.frombuffer(buffer.getbuffer(), dtype=torch.uint8)
        length = torch.tensor([len(data)], device=self.device)
        with _answers():
            dist.broadcast(length, 0)
            data = data.to(self.device) if self.is_main else data.new_empty(int(length), device=self.device)
            dist.broadcast(data, 0)
        if self.is_main:
            return value
        found: T = torch.load(io.BytesIO(data.cpu().numpy().tobytes()), weights_only=True, map_location="cpu")
        return found

    def check_same(self, value: str, what: str) -> None:
        """Make sure that all processes have the same text.

        Raises:
            UsageError: this one has another than the first.
        """
        if self.from_main(value) != value:
            raise UsageError(f"Process {self.rank} has another {what} than process 0. Give all machines the same.")

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """A block that the first process enters alone, then the first of every machine, then the others.

        What is made there once is found by those who follow, whether machines share their files or not.
        """
        if self.size == 1:
            yield
            return
        turn = 0 if self.is_main else 1 if self.place.local_rank == 0 else 2
        for _ in range(turn):
            self.wait()
        yield
        for _ in range(2 - turn):
            self.wait()

    def wait(self) -> None:
        """Until all are here."""
        self.sums({"here": 1.0})


ALONE = Group()
"""The group of a process that was started alone."""


@contextmanager
def joined(device: str = "auto") -> Iterator[Group]:
    """Be part of the group that this process was started for; the group of one if there is none.

    When the block ends all wait for the last. An exception in it ends only this process; the others notice when they
    next need it, and torchrun ends (or starts again) them all.

    Args:
        device: as the command line takes it.

    Raises:
        UsageError: the processes cannot have devices of their own.
        CvtoolError: they do not find each other.
    """
    place = launch()
    if place is None or place.size == 1:
        yield ALONE
        return
    chosen = device_of(device, place)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    try:
        # The store itself, since it is needed for `fails_first`, and torch lends it to nobody later.
        store, rank, size = next(iter(rendezvous("env://", timeout=PATIENCE)))
        store = dist.PrefixStore(_round(store, rank, size), store)  # type: ignore[attr-defined]
        backend = "nccl" if chosen.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
        notice_silence()
    except (RuntimeError, ValueError) as error:
        raise CvtoolError(
            f"Process {place.rank} of {place.size} found no way to the others. "
            "Check torchrun's --rdzv-endpoint and that its port is open."
        ) from error
    group = _Joined(place, chosen, store)
    try:
        yield group
        group.wait()
    except BaseException:
        if backend == "gloo":  # NCCL would wait for the others
            dist.destroy_process_group()
        raise
    dist.destroy_process_group()


def _round(store: Any, rank: int, size: int) -> str:
    """A name for this start of the processes, the same for all of them and never used before.

    torchrun may keep its store when it starts processes again, and what those before them had written is still there:
    addresses where nobody listens. The number of restarts does not tell starts apart, since machines count for
    themselves. So each process says hello with a number of its own until the first answers to that very number.

    Raises:
        RuntimeError: somebody does not come.
    """
    own = uuid.uuid4().hex
    if rank > 0:
        store.set(f"hello/{rank}", own)
        name: str = store.get(f"answer/{own}").decode()
        store.set(f"come/{name}/{rank}", "")
        return name
    deadline = time.monotonic() + PATIENCE.total_seconds()
    for other in range(1, size):
        answered = ""
        while not store.check([f"come/{own}/{other}"]):
            if time.monotonic() > deadline:
                raise RuntimeError(f"process {other} does not come")
            hello = store.get(f"hello/{other}").decode()
            if hello != answered:  # the first may be from an earlier start
                store.set(f"answer/{hello}", own)
                answered = hello
            time.sleep(_PAUSE)
    return own


class _Joined(Group):
    def __init__(self, place: Launch, device: torch.device, store: Any) -> None:
        super().__init__(place, device)
        self._store = store

    def fails_first(self) -> bool:
        """Whether no other process has failed before: then this one tells why. Called once, by one that fails."""
        try:
            return int(self._store.add(_FAILURES, 1)) == 1
        except RuntimeError:  # whoever kept the store is gone, so somebody has
            return False

    def hear_others(self) -> None:
        """Wait a moment for others that fail, too: the first process may keep the store where they ask who was first.

        Without it torch would say a page about the connection that it lost.
        """
        deadline = time.monotonic() + HEARING_SECONDS
        with suppress(RuntimeError):
            while int(self._store.add(_FAILURES, 0)) < self.size and time.monotonic() < deadline:
                time.sleep(_PAUSE)


def fails_first(group: Group) -> bool:
    """Whether `group` heard of no failure before this process's; a process that is alone is always the first."""
    if not isinstance(group, _Joined):
        return True
    first = group.fails_first()
    if group.is_main:
        group.hear_others()
    return first


def device_of(name: str, place: Launch) -> torch.device:
    """A device for each process: the GPU of its local rank, or the CPU.

    Raises:
        UsageError: there are too few, or one was named for several processes.
    """
    device = choose_device(name)
    if device.type == "cpu":
        return device
    if device.type != "cuda":
        raise UsageError(f"Several processes cannot share the device '{name}'. Use --device cpu.")
    if device.index is not None and place.local_size > 1:
        raise UsageError(f"--device {name} is one GPU, but {place.local_size} processes run here. Use --device cuda.")
    there = torch.cuda.device_count()
    if place.local_size > there:
        raise UsageError(
            f"{place.local_size} processes run here, but there {'is' if there == 1 else 'are'} {there} GPU"
            f"{'' if there == 1 else 's'}. Give torchrun --nproc-per-node {there}, or use --device cpu."
        )
    return torch.device("cuda", place.local_rank if device.index is None else device.index)


class _Sum(torch.autograd.Function):
    """The sum over all processes; so its gradient is the sum of all processes' gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Group) -> Tensor:
        ctx.group = group
        return group.sum_(x.clone())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Sum.apply(gradient.contiguous(), ctx.group), None


def summed(x: Tensor, group: Group) -> Tensor:
    """The sum of a tensor over all processes, with gradients, also of gradients."""
    if group.size == 1:
        return x
    found: Tensor = _Sum.apply(x, group)
    return found


class Dropout(nn.Dropout):
    """Dropout whose mask is drawn for the whole batch, of which this process has the rows of `share`.

    Attributes:
        share: of the next batch; None: all of it.
    """

    share: Share | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(N, …) → the same with some numbers left out, in training."""
        if not self.training or self.p == 0:
            return x
        # Masks follow the memory, so equal ones need one order; and they are those that torch draws for all rows.
        x = x.contiguous()
        if self.share is None or self.share.count == self.share.total:
            return super().forward(x)
        whole = super().forward(x.new_ones(self.share.total, *x.shape[1:]))
        return x * whole[self.share.rows]


@contextmanager
def _answers() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # what gloo and NCCL make of a connection that is closed or silent
        raise CvtoolError(
            "Another process of this run has ended or does not answer. "
            "torchrun --max-restarts N starts all of them again, and the run goes on from its last state."
        ) from error
