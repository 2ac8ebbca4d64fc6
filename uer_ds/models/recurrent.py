"""Recurrent encoders: rnn, lstm, gru, and their two-directional relatives birnn, bilstm, bigru (ELMo's).

B rows, S tokens, E width of the embedding, H width of the layers. In rows of one document padding is read like text,
as in UER-py; a backward direction so begins in the padding. In packed rows every document begins with an empty state.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from uer_ds.config.model import ModelConfig
from uer_ds.errors import UserError
from uer_ds.models.documents import Documents, Layout, layouts
from uer_ds.models.dropout import dropout
from uer_ds.models.layers import draw
from uer_ds.models.past import StatePast


class _Normal(nn.RNNBase):
    """Initial weights as in all other parts."""

    def reset_parameters(self) -> None:
        """N(0, 0.02) for weights and biases."""
        for parameter in self.parameters():
            draw(parameter)


class Rnn(_Normal, nn.RNN):
    """The plain recurrent network, with tanh."""


class Lstm(_Normal, nn.LSTM):
    """Long short-term memory."""


class Gru(_Normal, nn.GRU):
    """Gated recurrent units."""


class RecurrentEncoder(nn.Module):
    """L recurrent layers; `bidirectional`: H / 2 units in each direction, every layer reads both."""

    cell: type[nn.RNNBase]

    def __init__(self, emb_size: int, hidden_size: int, layers_num: int, dropout: float, bidirectional: bool = False):
        super().__init__()
        units = hidden_size // 2 if bidirectional else hidden_size
        self.rnn = _stack(self.cell, emb_size, units, layers_num, dropout, bidirectional)
        self.dropout = dropout

    @classmethod
    def from_config(cls, config: ModelConfig) -> RecurrentEncoder:
        """The encoder that a model JSON describes."""
        assert config.emb_size and config.hidden_size and config.layers_num
        return cls(config.emb_size, config.hidden_size, config.layers_num, config.dropout, config.bidirectional)

    def new_past(self, capacity: int) -> StatePast:
        """For `forward`. Raises UserError where layers read backwards too."""
        if self.rnn.bidirectional:
            raise UserError("this model reads its texts in both directions, so it cannot continue one.")
        return StatePast()

    def forward(
        self,
        embedded: Tensor,
        segments: Tensor,
        positions: Tensor | None = None,
        documents: Documents | None = None,
        past: StatePast | None = None,
    ) -> Tensor:
        """[B, S, E] -> [B, S, H]; with a `past`, of tokens behind those in it."""
        if past is not None:
            hidden = self._on_from(past, embedded)
        elif documents is None:
            hidden = self.rnn(embedded)[0]
        elif self.rnn.bidirectional:
            hidden = self._both_ways(embedded, layouts(segments, documents)[0])
        else:
            layout = layouts(segments, documents)[0]
            hidden = layout.join(self.rnn(layout.split(embedded))[0], len(embedded))
        return dropout(hidden, self.dropout, self.training)

    def _on_from(self, past: StatePast, embedded: Tensor) -> Tensor:
        """An LSTM has two states, the others one, which torch does not put into a tuple."""
        before = past.state
        hidden, state = self.rnn(embedded, before if before is None or len(before) > 1 else before[0])
        past.state = state if isinstance(state, tuple) else (state,)
        return hidden

    def _both_ways(self, embedded: Tensor, layout: Layout) -> Tensor:
        """Lengths are needed where a direction begins at the ends of documents."""
        lengths, order = layout.lengths.sort(descending=True)  # here: torch would ask the device for its order
        order = order.to(embedded.device, non_blocking=True)
        packed = pack_padded_sequence(layout.split(embedded)[order], lengths, batch_first=True)
        hidden, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True, total_length=layout.shape[1])
        return layout.join(hidden[order.argsort()], len(embedded))


class RnnEncoder(RecurrentEncoder):
    """Plain recurrent layers."""

    cell = Rnn


class LstmEncoder(RecurrentEncoder):
    """LSTM layers."""

    cell = Lstm


class GruEncoder(RecurrentEncoder):
    """GRU layers."""

    cell = Gru


class TwoWayEncoder(nn.Module):
    """Two stacks of H / 2 units that never see each other, one reading forwards, one backwards: [forward; backward]."""

    cell: type[nn.RNNBase]

    def __init__(self, emb_size: int, hidden_size: int, layers_num: int, dropout: float):
        super().__init__()
        self.rnn_forward = _stack(self.cell, emb_size, hidden_size // 2, layers_num, dropout)
        self.rnn_backward = _stack(self.cell, emb_size, hidden_size // 2, layers_num, dropout)
        self.dropout = dropout

    @classmethod
    def from_config(cls, config: ModelConfig) -> TwoWayEncoder:
        """The encoder that a model JSON describes."""
        assert config.emb_size and config.hidden_size and config.layers_num
        return cls(config.emb_size, config.hidden_size, config.layers_num, config.dropout)

    def forward(
        self, embedded: Tensor, segments: Tensor, positions: Tensor | None = None, documents: Documents | None = None
    ) -> Tensor:
        """[B, S, E] -> [B, S, H]"""
        if documents is None:
            left = self.rnn_forward(embedded)[0]
            right = self.rnn_backward(embedded.flip(1))[0].flip(1)
        else:
            onward, mirrored = layouts(segments, documents)
            left = onward.join(self.rnn_forward(onward.split(embedded))[0], len(embedded))
            right = mirrored.join(self.rnn_backward(mirrored.split(embedded))[0], len(embedded))
        halves = (dropout(half, self.dropout, self.training) for half in (left, right))
        return torch.cat(tuple(halves), dim=-1)


class BirnnEncoder(TwoWayEncoder):
    """Two stacks of plain recurrent layers."""

    cell = Rnn


class BilstmEncoder(TwoWayEncoder):
    """Two stacks of LSTM layers (ELMo)."""

    cell = Lstm


class BigruEncoder(TwoWayEncoder):
    """Two stacks of GRU layers."""

    cell = Gru


def _stack(
    cell: Callable[..., nn.RNNBase],
    inputs: int,
    units: int,
    layers_num: int,
    dropout: float,
    bidirectional: bool = False,
) -> nn.RNNBase:
    between = dropout if layers_num > 1 else 0.0  # torch warns of dropout that no layer follows
    return cell(inputs, units, layers_num, batch_first=True, dropout=between, bidirectional=bidirectional)
