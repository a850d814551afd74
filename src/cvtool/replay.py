"""Work that a GPU is told once and then only starts again: CUDA graphs.

A step of a small network is hundreds of kernels of a few microseconds each, and to start one from Python takes longer
than to run it. Recorded, all of them start at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")

WARM_UP = 3
"""Calls before the recording: they choose algorithms and make what is made once, which must not be recorded."""


class Replayed(Generic[T]):
    """Calls `work`; on a CUDA device it is recorded at its fourth call, and one launch from then on.

    Args:
        work: takes tensors and computes on its device alone: it asks no tensor for its value, takes the same way every
            time, draws random numbers from `chances` only, and changes other tensors in place or makes them anew.
        device: where it computes; elsewhere than on CUDA it is just called.
        chances: CUDA generators that it draws from; they may be seeded between calls.
        enabled: False: it is just called.

    What a call returns, and the gradients that it leaves, lie in memory that the next call writes to again.
    """

    def __init__(
        self,
        work: Callable[..., T],
        device: torch.device,
        *,
        chances: Sequence[torch.Generator] = (),
        enabled: bool = True,
    ) -> None:
        self._work, self._chances = work, chances
        on_gpu = enabled and device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if on_gpu else None  # type: ignore[no-untyped-call]
        self._graph: torch.cuda.CUDAGraph | None = None
        self._calls = 0
        self._inputs: list[Tensor] = []
        self._found: T

    def __call__(self, *inputs: Tensor) -> T:
        """What `work` gives for such inputs, which have the same shapes and types every time."""
        if self._stream is None:
            return self._work(*inputs)
        if self._graph is None and self._calls < WARM_UP:
            self._calls += 1
            return self._aside(self._stream, inputs)
        if self._graph is None and not self._record(self._stream, inputs):
            self._stream = None
            return self._work(*inputs)
        assert self._graph is not None
        for ours, given in zip(self._inputs, inputs, strict=True):
            ours.copy_(given, non_blocking=True)
        self._graph.replay()
        return self._found

    def _aside(self, stream: torch.cuda.Stream, inputs: Sequence[Tensor]) -> T:
        """A call on the stream that will be recorded: autograd remembers where a leaf was used first."""
        here = torch.cuda.current_stream(stream.device)
        stream.wait_stream(here)
        with torch.cuda.stream(stream):
            found = self._work(*inputs)
        here.wait_stream(stream)
        return found

    def _record(self, stream: torch.cuda.Stream, inputs: Sequence[Tensor]) -> bool:
        """Whether it went well; nothing is computed by it."""
        self._inputs = [each.detach().clone() for each in inputs]
        graph = torch.cuda.CUDAGraph()
        for chance in self._chances:
            graph.register_generator_state(chance)
        try:
            with torch.cuda.graph(graph, stream=stream):
                found = self._work(*self._inputs)
        except RuntimeError:  # an operation that cannot be recorded: slower, but right
            return False
        self._graph, self._found = graph, found
        return True
