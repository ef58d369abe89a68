"""Networks around recurrent layers."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

LENGTHS = [4, 7]
STATE = 7


@dataclass(frozen=True)
class Options:
    """What PyTorch's recurrent layers can be told, and how one is called."""

    kind: str = "LSTM"
    layers: int = 1
    directions: int = 1
    projected: bool = False
    bias: bool = True
    batch_first: bool = False
    packed: bool = False
    state: str = "absent"  # or made, learned

    def layer(self, width: int) -> nn.RNNBase:
        """The layer; its dropout does nothing in eval mode."""
        name, _, activation = self.kind.partition(" ")
        more: dict[str, Any] = {"nonlinearity": activation} if activation else {}
        more |= {"proj_size": 3} if self.projected else {}
        more |= {"dropout": 0.5} if self.layers > 1 else {}
        told = {"bias": self.bias, "batch_first": self.batch_first, "bidirectional": self.directions == 2}
        made: nn.RNNBase = getattr(nn, name)(width, STATE, self.layers, **told, **more)
        return made


class Around(nn.Module):
    """Layers that write what the recurrent one reads, and that read all that it returns."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.options = options
        self.first = nn.Linear(3, 5)
        self.rnn = options.layer(5)
        out = self.rnn.proj_size or STATE
        self.head = nn.Linear(options.directions * out, 2)
        self.last = nn.Linear(options.directions * options.layers * out, 2)
        self.cells = nn.Linear(STATE, 2) if options.kind == "LSTM" else None
        self.starts = nn.ParameterList()
        if options.state == "learned":
            widths = [out, STATE] if options.kind == "LSTM" else [STATE]
            self.starts.extend(torch.randn(options.layers * options.directions, 1, width) for width in widths)

    def forward(self, x: Tensor) -> list[Tensor]:
        """`[length, batch, 3]`, or `[batch, length, 3]`."""
        options = self.options
        y: Any = self.first(x)
        states = self.start(x.shape[0 if options.batch_first else 1])
        if options.packed:
            y = pack_padded_sequence(y, LENGTHS, options.batch_first, enforce_sorted=False)
        y, after = self.rnn(y, states)
        if isinstance(y, PackedSequence):
            y, _ = pad_packed_sequence(y, options.batch_first)
        shown, cells = after if isinstance(after, tuple) else (after, None)
        results = [self.head(y), self.last(shown.transpose(0, 1).flatten(1))]
        return [*results, self.cells(cells)] if self.cells is not None else results

    def start(self, batch: int) -> Any:
        """The states to begin with."""
        if self.options.state == "absent":
            return None
        if self.options.state == "learned":
            states = [start.expand(-1, batch, -1).contiguous() for start in self.starts]
        else:
            count = self.rnn.num_layers * self.options.directions
            widths = [self.rnn.proj_size or self.rnn.hidden_size, self.rnn.hidden_size]
            states = [torch.zeros(count, batch, width).to(self.head.weight) for width in widths]
        return tuple(states[:2]) if self.options.kind == "LSTM" else states[0]


def build(options: Options, length: int = 7) -> tuple[Around, Tensor]:
    """The network in float64 and eval mode, and its input: two samples."""
    torch.manual_seed(0)
    shape = (2, length, 3) if options.batch_first else (length, 2, 3)
    return Around(options).double().eval(), torch.randn(shape, dtype=torch.float64)
