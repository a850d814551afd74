"""The captioner: a recurrent network that reads a picture's features and writes words.

Without attention it is the course's: the first hidden state is an affine map of the picture's features, then word
vectors, a cell, an affine map to scores. With attention, each hidden state of the first layer asks every place of the
picture (scaled dot product), and what it gets joins the state on its way up. Differs from Show, Attend and Tell
(arXiv:1502.03044), where it joins the next step's input: looking *after* the cell, as in Luong et al.
(arXiv:1508.04025) and Lu et al. (arXiv:1612.01887), lets torch's fused cells run over all words of a caption at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cvtool.caption.options import Cell, ModelOptions
from cvtool.caption.vocabulary import NULL
from cvtool.distributed import Dropout

CELLS = {Cell.rnn: nn.RNN, Cell.lstm: nn.LSTM, Cell.gru: nn.GRU}


@dataclass(frozen=True, eq=False)
class Seen:
    """What the captioner keeps of N pictures.

    Attributes:
        first: (N, H) first hidden state.
        keys: (N, P, H) what each of P places answers to; None without attention.
        values: (N, P, H) what it tells.
    """

    first: Tensor
    keys: Tensor | None
    values: Tensor | None

    def __getitem__(self, chosen: slice | Tensor) -> Seen:
        """Some of the pictures."""
        rest = (None, None) if self.keys is None or self.values is None else (self.keys[chosen], self.values[chosen])
        return Seen(self.first[chosen], *rest)


State = tuple[Tensor, ...]
"""Hidden states, and cell states for an LSTM, of every layer: each (N, K, H)."""


class Captioner(nn.Module):
    """Features of pictures and words so far → scores of the next words.

    Args:
        options: the shape.
        words: size of the vocabulary.
        channels: of the picture's features.
    """

    def __init__(self, options: ModelOptions, words: int, channels: int) -> None:
        super().__init__()
        self.options = options
        hidden, embedding = options.hidden, options.embedding
        joined = hidden * (2 if options.attention else 1)
        self.embed = nn.Embedding(words, embedding, padding_idx=NULL)
        nn.init.normal_(self.embed.weight, std=embedding**-0.5)  # tied to the scores: these must start small
        self.first = nn.Linear(channels, hidden)
        if options.attention:
            self.see = nn.Linear(channels, hidden)
            self.key = nn.Linear(hidden, hidden, bias=False)
            self.value = nn.Linear(hidden, hidden, bias=False)
            self.query = nn.Linear(hidden, hidden, bias=False)
        kind = CELLS[options.cell]
        sizes = [embedding, *[joined] * (options.layers - 1)]
        self.cells = nn.ModuleList(kind(size, hidden, batch_first=True) for size in sizes)
        if options.tie:
            self.join = nn.Linear(joined, embedding)
            self.bias = nn.Parameter(torch.zeros(words))
        else:
            self.scores = nn.Linear(joined, words)
        self.dropout = Dropout(options.dropout)

    def see_pictures(self, features: Tensor) -> Seen:
        """Features (N, P, C) of P places → what is kept of them; without attention only their mean over P counts."""
        first = self.first(self.dropout(features.mean(1)))
        if not self.options.attention:
            return Seen(first, None, None)
        places = self.dropout(torch.relu(self.see(features)))
        return Seen(first, self.key(places), self.value(places))

    def start(self, seen: Seen, beginnings: int) -> State:
        """The state before the first word, for `beginnings` captions of each picture."""
        first = seen.first[:, None].expand(-1, beginnings, -1)
        zeros = torch.zeros_like(first)
        # The picture sets the first layer, as in the course; layers above start empty and read it by attention.
        hidden = [first, *[zeros] * (self.options.layers - 1)]
        memory = [zeros] * self.options.layers if self.options.cell is Cell.lstm else []
        return (*hidden, *memory)

    def forward(self, seen: Seen, words: Tensor, state: State | None = None) -> tuple[Tensor, State, Tensor | None]:
        """Words (N, K, T), K captions for each picture → what the last layer says (N, K, T, ·), state, attention.

        `score` makes scores of it. The attention is (N, K, T, P), None without.
        """
        count, beginnings, length = words.shape
        state = state or self.start(seen, beginnings)
        layers = self.options.layers
        x = self.dropout(self.embed(words))
        hidden, memory, looked = [], [], None
        for number, cell in enumerate(self.cells):
            flat = x.reshape(count * beginnings, length, -1)
            begin = [part.reshape(1, count * beginnings, -1).contiguous() for part in state[number::layers]]
            y, end = cell(flat, tuple(begin) if len(begin) > 1 else begin[0])
            ends = end if isinstance(end, tuple) else (end,)
            hidden.append(ends[0].view(count, beginnings, -1))
            memory += [part.view(count, beginnings, -1) for part in ends[1:]]
            y = y.reshape(count, beginnings, length, -1)
            if number == 0:
                context, looked = self._look(seen, y)
            x = self.dropout(y if context is None else torch.cat([y, context], -1))
        return x, (*hidden, *memory), looked

    def _look(self, seen: Seen, y: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """(N, K, T, H) → what the places tell each of them (N, K, T, H), and the weights (N, K, T, P)."""
        if seen.keys is None or seen.values is None:
            return None, None
        asked = self.query(y).flatten(1, 2)
        weights = torch.softmax(asked @ seen.keys.transpose(1, 2) * self.options.hidden**-0.5, -1)
        context = weights @ seen.values
        return context.view_as(y), weights.view(*y.shape[:3], -1)

    def score(self, x: Tensor) -> Tensor:
        """What `forward` gave (..., ·) → scores (logits) of the words (..., V)."""
        if self.options.tie:
            return nn.functional.linear(self.join(x), self.embed.weight, self.bias)
        return self.scores(x)  # type: ignore[no-any-return]
