"""A small GPT: a decoder of pre-norm transformer blocks over learned positions."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from netmorph.zoo.layers import InputShape, ModelError, check_depth, scaled

NORMS: dict[str, Callable[[int], nn.Module]] = {"layer": nn.LayerNorm, "rms": nn.RMSNorm}
DEVIATION = 0.02  # of the first weights, whatever the width: GPT-2's


class Attention(nn.Module):
    """Causal self-attention.

    Queries, keys and values have layers of their own, and the scale is a number of its own: so the number of heads,
    the width of queries and keys, and the width of values can each change without the others.
    """

    def __init__(self, channels: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (channels // heads) ** -0.5
        self.dropout = dropout
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """[N, T, channels] -> the same shape; each position sees itself and those before it."""
        query, key, value = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        dropout = self.dropout if self.training else 0.0
        seen = scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=True, scale=self.scale)
        return self.out(seen.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Attention and a two-layer perceptron, each behind a norm and beside an identity."""

    def __init__(
        self, channels: int, heads: int, hidden: int, norm: Callable[[int], nn.Module], dropout: float
    ) -> None:
        super().__init__()
        self.norm1 = norm(channels)
        self.attention = Attention(channels, heads, dropout)
        self.dropout1 = nn.Dropout(dropout)
        self.norm2 = norm(channels)
        self.fc1 = nn.Linear(channels, hidden)
        self.gelu = nn.GELU()
        self.fc2 = nn.Linear(hidden, channels)
        self.dropout2 = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[N, T, channels] -> the same shape."""
        x = x + self.dropout1(self.attention(self.norm1(x)))
        return x + self.dropout2(self.fc2(self.gelu(self.fc1(self.norm2(x)))))  # type: ignore[no-any-return]


class GPT(nn.Module):
    """Embeddings of tokens and positions, blocks, a norm and a linear layer; made by `gpt`."""

    def __init__(self, context: int, classes: int, channels: int, blocks: list[Block], norm: nn.Module, dropout: float):
        super().__init__()
        self.context = context
        self.tokens = nn.Embedding(classes, channels)
        self.positions = nn.Embedding(context, channels)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*blocks)
        self.norm = norm
        self.head = nn.Linear(channels, classes, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Token numbers int64 [N, T], T at most the context -> logits [N, T, classes] of each next token."""
        length = ids.shape[1]
        if length > self.context:
            raise ModelError(
                f"this network takes at most {self.context} tokens at once, got {length}; cut the sequence"
            )
        x = self.tokens(ids) + self.positions(torch.arange(length, device=ids.device))
        return self.head(self.norm(self.blocks(self.dropout(x))))  # type: ignore[no-any-return]


def gpt(
    input_shape: InputShape,
    classes: int,
    *,
    width: float = 1,
    depth: int = 4,
    heads: int = 4,
    channels: int = 128,
    mlp_ratio: float = 4,
    norm: str = "layer",
    tied: bool = True,
    dropout: float = 0.0,
) -> GPT:
    """A GPT-2 of small size: pre-norm blocks of causal attention and a GELU perceptron, learned positions.

    By default 834,304 parameters for a context of 64 and 256 tokens (bytes). Weights start as GPT-2's: normal with
    deviation 0.02, divided by `sqrt(2 depth)` in the last layer of each branch, biases zero.

    Source: A. Radford et al., Language models are unsupervised multitask learners, 2019, section 2.3. RMS norm:
    B. Zhang and R. Sennrich, Root mean square layer normalization, 2019.

    Args:
        input_shape: the context alone, `(T,)`: the most tokens that the network sees at once. Fewer will do.
        classes: tokens of the vocabulary.
        width: multiplies `channels`.
        depth: blocks.
        heads: of attention in each block, which share the channels evenly.
        channels: of the residual stream, rounded up to a multiple of `heads`.
        mlp_ratio: hidden units of the perceptrons, as a multiple of the channels.
        norm: of `NORMS`, "layer" or "rms".
        tied: one tensor embeds the tokens and gives the logits. The stream of a network that is not tied can be
            widened exactly, to multiples of its width.
        dropout: probability, on the embeddings, the attention and each branch.

    Raises:
        ModelError: another shape than a context, or an option out of its range.
    """
    if len(input_shape) != 1:
        raise ModelError(f"gpt takes tokens: its input_shape is the context alone, such as (64,); got {input_shape}")
    if min(depth, heads) < 1 or not mlp_ratio > 0:
        raise ModelError(
            "depth and heads must be at least 1 and mlp_ratio positive, "
            f"got depth={depth}, heads={heads}, mlp_ratio={mlp_ratio}"
        )
    check_depth(depth, "depth")
    if not 0 <= dropout < 1:
        raise ModelError(f"dropout is a probability below 1, got {dropout}")
    if norm not in NORMS:
        raise ModelError(f"norm must be one of {', '.join(NORMS)}, got {norm!r}")
    (stream,) = scaled((channels,), width)
    stream = heads * math.ceil(stream / heads)
    hidden = max(1, round(mlp_ratio * stream))
    blocks = [Block(stream, heads, hidden, NORMS[norm], dropout) for _ in range(depth)]
    network = GPT(input_shape[0], classes, stream, blocks, NORMS[norm](stream), dropout)
    if tied:
        network.head.weight = network.tokens.weight
    network.apply(_start)
    for block in blocks:
        for last in (block.attention.out, block.fc2):
            nn.init.normal_(last.weight, std=DEVIATION / math.sqrt(2 * depth))
    return network


def _start(module: nn.Module) -> None:
    """The first weights of one layer; norms keep theirs."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=DEVIATION)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
