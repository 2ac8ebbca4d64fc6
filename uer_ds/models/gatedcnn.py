"""The gated convolutional encoder: each token sees the `kernel_size` tokens that end in it, layer upon layer.

B rows, S tokens, E width of the embedding, H channels, k kernel size. Left to right, so it needs no mask.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uer_ds.config.model import ModelConfig
from uer_ds.models.documents import Documents, layouts
from uer_ds.models.layers import draw
from uer_ds.models.past import WindowPast


class Convolution(nn.Conv2d):
    """A convolution drawn from N(0, 0.02)."""

    def reset_parameters(self) -> None:
        """Weight and bias."""
        draw(self.weight)
        if self.bias is not None:
            draw(self.bias)


class ChannelBiases(nn.Module):
    """A second bias for each of `count` convolutions; UER-py has them beside the convolutions' own."""

    def __init__(self, count: int, channels: int):
        super().__init__()
        self.bias_names = tuple(str(number) for number in range(count))
        for name in self.bias_names:
            self.register_parameter(name, nn.Parameter(torch.empty(1, channels, 1, 1)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """N(0, 0.02)."""
        for parameter in self.parameters():
            draw(parameter)

    def forward(self, x: Tensor, number: int) -> Tensor:
        """[B, H, S, 1] -> [B, H, S, 1]"""
        return x + self.get_parameter(self.bias_names[number])


class GatedcnnEncoder(nn.Module):
    """L gated convolutions; a residual sum every `block_size` layers."""

    bias_names = ("conv_b1", "gate_b1")

    def __init__(self, emb_size: int, hidden_size: int, layers_num: int, kernel_size: int, block_size: int):
        super().__init__()
        self.conv_1 = Convolution(1, hidden_size, (kernel_size, emb_size))
        self.gate_1 = Convolution(1, hidden_size, (kernel_size, emb_size))
        self.conv_b1 = nn.Parameter(torch.empty(1, hidden_size, 1, 1))
        self.gate_b1 = nn.Parameter(torch.empty(1, hidden_size, 1, 1))
        inner = range(layers_num - 1)
        self.conv = nn.ModuleList(Convolution(hidden_size, hidden_size, (kernel_size, 1)) for _ in inner)
        self.gate = nn.ModuleList(Convolution(hidden_size, hidden_size, (kernel_size, 1)) for _ in inner)
        self.conv_b = ChannelBiases(layers_num - 1, hidden_size)
        self.gate_b = ChannelBiases(layers_num - 1, hidden_size)
        self.kernel_size = kernel_size
        self.block_size = block_size
        self.reset_parameters()

    @classmethod
    def from_config(cls, config: ModelConfig) -> GatedcnnEncoder:
        """The encoder that a model JSON describes."""
        assert config.emb_size and config.hidden_size and config.layers_num
        assert config.kernel_size and config.block_size
        return cls(config.emb_size, config.hidden_size, config.layers_num, config.kernel_size, config.block_size)

    def reset_parameters(self) -> None:
        """N(0, 0.02) for the biases of the first layer; the other parts draw their own."""
        draw(self.conv_b1)
        draw(self.gate_b1)

    def new_past(self, capacity: int) -> WindowPast:
        """For `forward`."""
        return WindowPast(self.kernel_size)

    def forward(
        self,
        embedded: Tensor,
        segments: Tensor,
        positions: Tensor | None = None,
        documents: Documents | None = None,
        past: WindowPast | None = None,
    ) -> Tensor:
        """[B, S, E] -> [B, S, H]; with a `past`, of tokens behind those in it."""
        if past is not None:
            past.begin()
            return self._convolve(embedded, past.extended)
        if documents is None:
            return self._convolve(embedded, self._pad)
        layout = layouts(segments, documents)[0]
        return layout.join(self._convolve(layout.split(embedded), self._pad), len(embedded))

    def _convolve(self, embedded: Tensor, extend: Callable[[Tensor], Tensor]) -> Tensor:
        """`extend`: [B, C, S, W] -> [B, C, S + k - 1, W], with what stands to the left."""
        x = extend(embedded.unsqueeze(1))  # [B, 1, S + k - 1, E]
        hidden = (self.conv_1(x) + self.conv_b1) * torch.sigmoid(self.gate_1(x) + self.gate_b1)  # [B, H, S, 1]
        residual = hidden
        for number, (conv, gate) in enumerate(zip(self.conv, self.gate, strict=True)):
            x = extend(hidden)
            hidden = self.conv_b(conv(x), number) * torch.sigmoid(self.gate_b(gate(x), number))
            if (number + 1) % self.block_size == 0:
                residual = hidden = hidden + residual
        return hidden.squeeze(-1).transpose(1, 2)

    def _pad(self, x: Tensor) -> Tensor:
        """k - 1 zeros to the left of each row: [.., S, W] -> [.., S + k - 1, W]."""
        return F.pad(x, (0, 0, self.kernel_size - 1, 0))
