"""The lesson of the notes as a table: gradients derived by hand against torch's autograd, in float64.

torch runs its fused cells (torch.nn.RNN, LSTM, GRU) on the same weights in its own layout; with attention, where no
fused cell exists, its single-step cells. Of the reference only the order of the gates is used on torch's side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from cvtool.errors import UnknownNameError
from cvtool.reference.attention import ATTENTIONS, attentive_backward, attentive_forward
from cvtool.reference.captioning import NULL, initial_parameters, loss_and_gradients
from cvtool.reference.recurrent import CELLS, Array, State, sequence_backward, sequence_forward
from cvtool.reference.torch_order import gradients_from_torch_order, to_torch_order

CHECKED = ("rnn", "lstm", "gru", "lstm+scaled-dot", "lstm+additive")
"""What is checked if nothing else is asked for."""

LARGEST_ERROR = 1e-9
"""Where the two agree all errors are below this; rounding in float64 leaves about 1e-12."""

# Sequences, steps, places, feature channels, embedding, hidden units, words: small, and all different.
N, T, P, C, D, H, V = 3, 6, 4, 8, 5, 7, 11

FUSED: dict[str, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
STEPS: dict[str, Callable[[int, int], nn.RNNCellBase]] = {"rnn": nn.RNNCell, "lstm": nn.LSTMCell, "gru": nn.GRUCell}

Named = dict[str, Array]


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    cell: str  # "lstm", with attention "lstm+additive"
    quantity: str  # "h" (hidden states of all steps), "loss", or the array whose gradient is compared: "d Wx"
    relative_error: float  # the largest over the array's elements


def check(cells: Sequence[str] = CHECKED, seed: int = 0) -> tuple[Row, ...]:
    """NumPy against torch on random inputs: each cell over a sequence, and the whole captioner's loss.

    A weight that occurs in both gets one row with the larger error.

    Args:
        cells: ``rnn``, ``lstm``, ``gru``, each also with ``+scaled-dot`` or ``+additive``.
        seed: of inputs and weights.

    Raises:
        UnknownNameError: no such cell or attention.
    """
    rows = []
    for name in cells:
        cell, attention = parsed(name)
        rng = np.random.default_rng(seed)
        errors: dict[str, list[float]] = {}
        for ours, theirs in (sequence_both_ways(cell, attention, rng), captioner_both_ways(cell, attention, rng)):
            for quantity, expected in theirs.items():
                errors.setdefault(quantity, []).append(relative_error(ours[quantity], expected))
        rows += [Row(name, quantity, float(np.max(found))) for quantity, found in errors.items()]  # NaN stays NaN
    return tuple(rows)


def relative_error(a: Array, b: Array) -> float:
    """The largest ``|a − b| / max(|a| + |b|, 1e-8)`` over all elements, as the course measures it; NaN if any is."""
    if a.shape != b.shape:
        raise ValueError(f"Arrays of shapes {a.shape} and {b.shape} cannot be compared.")
    return float(np.max(np.abs(a - b) / np.maximum(np.abs(a) + np.abs(b), 1e-8)))


def parsed(name: str) -> tuple[str, str | None]:
    """``"lstm+additive"`` → ``("lstm", "additive")``; ``"gru"`` → ``("gru", None)``."""
    cell, plus, attention = name.partition("+")
    if cell not in CELLS:
        raise UnknownNameError("cell", cell, CELLS)
    if plus and attention not in ATTENTIONS:
        raise UnknownNameError("attention", attention, ATTENTIONS)
    return cell, attention if plus else None


# Both ways --------------------------------------------------------------------------------------------------------


def sequence_both_ways(cell: str, attention: str | None, rng: np.random.Generator) -> tuple[Named, Named]:
    """(NumPy's, torch's) hidden states of a sequence, and gradients of ``Σ dh ∘ h`` for a random dh."""
    parameters = random_parameters(cell, attention, rng)
    x, dh = rng.standard_normal((N, T, D)), rng.standard_normal((N, T, H))
    annotations = rng.standard_normal((N, P, H))
    state = tuple(rng.standard_normal((N, H)) for _ in range(CELLS[cell].states))

    if attention is None:
        h, _, caches = sequence_forward(CELLS[cell], x, state, parameters)
        dx, dstate, dweights = sequence_backward(CELLS[cell], dh, caches)
        ours = {"h": h, "d x": dx}
    else:
        how = ATTENTIONS[attention]
        h, _, looks = attentive_forward(CELLS[cell], how, x, annotations, state, parameters)
        dx, dannotations, dstate, dweights = attentive_backward(CELLS[cell], how, dh, looks)
        ours = {"h": h, "d x": dx, "d annotations": dannotations}
    ours |= state_gradients(dstate) | {f"d {name}": gradient for name, gradient in dweights.items()}

    torch_side = TorchCell(cell, attention, parameters)
    leaves = {"d x": leaf(x)} | ({} if attention is None else {"d annotations": leaf(annotations)})
    first = tuple(leaf(array) for array in state)
    torch_h = torch_side.hidden(leaves["d x"], leaves.get("d annotations"), first)
    (torch_h * torch.from_numpy(dh)).sum().backward()  # type: ignore[no-untyped-call]
    theirs = {"h": array_of(torch_h)} | {name: gradient_of(tensor) for name, tensor in leaves.items()}
    theirs |= state_gradients(tuple(gradient_of(tensor) for tensor in first)) | torch_side.gradients()
    return ours, theirs


def captioner_both_ways(cell: str, attention: str | None, rng: np.random.Generator) -> tuple[Named, Named]:
    """(NumPy's, torch's) loss of the captioner on padded random captions, and its gradient for every parameter."""
    parameters = random_parameters(cell, attention, rng)
    features = rng.standard_normal((N, C) if attention is None else (N, P, C))
    captions = padded_captions(rng)

    loss, gradients = loss_and_gradients(features, captions, parameters, cell, attention=attention)
    ours = {"loss": np.array(loss)} | {f"d {name}": gradient for name, gradient in gradients.items()}

    torch_side = TorchCell(cell, attention, parameters)
    outer = {
        name: leaf(parameters[name]) for name in parameters if name not in (*CELLS[cell].names, *torch_side.attending)
    }
    torch_loss = captioner_loss(torch_side, outer, torch.from_numpy(features), torch.from_numpy(captions))
    torch_loss.backward()  # type: ignore[no-untyped-call]
    theirs = {"loss": array_of(torch_loss)} | {f"d {name}": gradient_of(tensor) for name, tensor in outer.items()}
    return ours, theirs | torch_side.gradients()


def random_parameters(cell: str, attention: str | None, rng: np.random.Generator) -> Named:
    """Those of the course, with biases and embeddings of size 1: zeros would hide mistakes."""
    drawn = initial_parameters(rng, channels=C, embedding=D, hidden=H, words=V, cell=cell, attention=attention)
    biases: Named = {
        name: rng.standard_normal(drawn[name].shape) for name in ("b_proj", "b", "bn", "b_vocab") if name in drawn
    }
    return {**drawn, **biases, "W_embed": rng.standard_normal((V, D))}


def padded_captions(rng: np.random.Generator) -> NDArray[np.int64]:
    """(N, T + 1) words; caption k ends k words before the last place and is filled with NULL."""
    captions = rng.integers(NULL + 1, V, (N, T + 1))
    for k, caption in enumerate(captions):
        caption[T + 1 - k :] = NULL
    return captions


def state_gradients(dstate: State) -> Named:
    """By name: ``d h0``, and for the LSTM ``d c0``."""
    return dict(zip(("d h0", "d c0"), dstate, strict=False))


# torch's side -----------------------------------------------------------------------------------------------------


class TorchCell:
    """One of torch's recurrent modules with the reference's weights, alone or looking at annotations."""

    def __init__(self, cell: str, attention: str | None, parameters: Mapping[str, Array]) -> None:
        self.cell, self.attention = cell, attention
        inputs = len(parameters["Wx"])
        if attention is None:
            self.module: nn.Module = FUSED[cell](inputs, H, batch_first=True).double()
            self.suffix = "_l0"
        else:
            self.module = STEPS[cell](inputs, H).double()
            self.suffix = ""
        self.module.load_state_dict(
            {name + self.suffix: torch.from_numpy(array) for name, array in to_torch_order(cell, parameters).items()}
        )
        names = () if attention is None else ATTENTIONS[attention].names
        self.attending = {name: leaf(parameters[name]) for name in names}

    def hidden(self, x: Tensor, annotations: Tensor | None, state: tuple[Tensor, ...]) -> Tensor:
        """x (N, T, D), first state → h of all steps (N, T, H)."""
        if annotations is None:
            first = tuple(tensor[None] for tensor in state)  # torch wants (layers, N, H)
            return cast(Tensor, self.module(x, first if len(first) > 1 else first[0])[0])
        steps = []
        for x_t in x.unbind(1):
            given = torch.cat([x_t, self.context(state[0], annotations)], 1)
            after = self.module(given, state if len(state) > 1 else state[0])
            state = after if isinstance(after, tuple) else (after,)
            steps.append(state[0])
        return torch.stack(steps, 1)

    def context(self, h: Tensor, annotations: Tensor) -> Tensor:
        """(N, H), (N, P, H) → (N, H)."""
        if self.attention == "scaled-dot":
            return functional.scaled_dot_product_attention(h[:, None], annotations, annotations)[:, 0]
        w = self.attending
        energy = torch.tanh(annotations @ w["W_annotations"] + (h @ w["W_query"])[:, None]) @ w["v"]
        return torch.bmm(energy.softmax(1)[:, None], annotations)[:, 0]

    def gradients(self) -> Named:
        """Of the weights, after ``backward()``, under the reference's names and in its order."""
        arrays = {
            name.removesuffix(self.suffix): gradient_of(parameter) for name, parameter in self.module.named_parameters()
        }
        named = gradients_from_torch_order(self.cell, arrays) | {
            name: gradient_of(tensor) for name, tensor in self.attending.items()
        }
        return {f"d {name}": gradient for name, gradient in named.items()}


def captioner_loss(cell: TorchCell, outer: Mapping[str, Tensor], features: Tensor, captions: Tensor) -> Tensor:
    """The captioner once more, written with torch's own operations."""
    projected = functional.linear(features, outer["W_proj"].T, outer["b_proj"])
    words = functional.embedding(captions[:, :-1], outer["W_embed"])
    lstm = cell.cell == "lstm"
    if cell.attention is None:
        state = (projected, torch.zeros_like(projected)) if lstm else (projected,)
        h = cell.hidden(words, None, state)
    else:
        mean = projected.mean(1)
        h = cell.hidden(words, projected, (mean, mean) if lstm else (mean,))
    scores = functional.linear(h, outer["W_vocab"].T, outer["b_vocab"])
    summed = functional.cross_entropy(
        scores.flatten(0, 1), captions[:, 1:].flatten(), ignore_index=NULL, reduction="sum"
    )
    return summed / len(captions)


def leaf(array: NDArray[Any]) -> Tensor:
    """A copy that collects a gradient."""
    return torch.tensor(array, dtype=torch.float64, requires_grad=True)


def array_of(tensor: Tensor) -> Array:
    """As float64."""
    return cast(Array, tensor.detach().numpy())


def gradient_of(tensor: Tensor) -> Array:
    """As float64; after ``backward()``."""
    assert tensor.grad is not None
    return array_of(tensor.grad)
