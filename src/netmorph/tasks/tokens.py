"""The next token at each position of a text."""

import math

from torch import Tensor
from torch.nn import functional

from netmorph.tasks.classes import log_shares, mean_of_probabilities
from netmorph.tasks.task import LOSS, Constant, Exhibit, Numbers, Task, TaskError, share_of

# exp of a larger loss is no finite float.
LARGEST = math.log(1e300)


def next_token(name: str = "text") -> Task:
    """Outputs are logits `[B, T, tokens]`, targets int64 `[B, T]`: the token that follows each position.

    The loss is the cross-entropy of a token in nats, and chooses. Told are "perplexity", its exponential, and
    "accuracy", the share of tokens that are the likeliest answer. An ensemble answers with the mean of its members'
    probabilities.
    """
    return Task(
        name,
        _loss,
        _right,
        _told,
        combined=mean_of_probabilities,
        answers=_probabilities,
        check=_check_tokens,
        exhibit=Exhibit.TOKENS,
        constant=Constant("the frequencies of the tokens (unigrams)", _unigrams),
    )


def loss_by_position(outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean loss [T] at each position of the windows, in nats; arguments are those of the task's loss."""
    return functional.cross_entropy(outputs.transpose(1, 2), targets, reduction="none").mean(0)


def _loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs.flatten(0, 1), targets.flatten())


def _right(outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    return {"accuracy": share_of(outputs.argmax(-1) == targets)}


def _told(means: Numbers) -> dict[str, float]:
    return {**means, "perplexity": math.exp(min(means[LOSS], LARGEST)) if means[LOSS] == means[LOSS] else math.nan}


def _unigrams(targets: Tensor, tokens: int) -> Tensor:
    return log_shares(targets, tokens).expand(targets.shape[1], -1)


def _probabilities(outputs: Tensor) -> Tensor:
    return outputs.softmax(-1)


def _check_tokens(outputs: Tensor, targets: Tensor) -> None:
    if targets.dim() != 2:
        raise TaskError(f"targets have shape {tuple(targets.shape)}; tokens [samples, positions] were expected")
    if outputs.dim() != 3 or outputs.shape[1] != targets.shape[1]:
        raise TaskError(
            f"its outputs have shape {tuple(outputs.shape)} for windows of {targets.shape[1]} tokens; logits of shape "
            "[samples, positions, tokens] were expected"
        )
    if int(targets.max()) >= outputs.shape[2]:
        raise TaskError(
            f"the text has the token {int(targets.max())}, but its outputs are for {outputs.shape[2]} tokens; build it "
            "with the vocabulary's size"
        )
