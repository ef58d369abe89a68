"""How networks that were trained on a text go on with one."""

from __future__ import annotations

from contextlib import ExitStack

import torch
from torch import Tensor, nn

from netmorph.data import Dataset
from netmorph.errors import NetmorphError
from netmorph.seeds import generator_of
from netmorph.train.evaluation import Networks, checked_outputs
from netmorph.train.inputs import prepare, reference
from netmorph.train.modes import mode


@torch.no_grad()
def generate(
    model: Networks, start: Tensor, dataset: Dataset, *, count: int, temperature: float = 1.0, seed: int = 0
) -> Tensor:
    """Tokens drawn one after the other from what the network, or several together, expect next.

    Args:
        model: takes windows of tokens int64 [1, T]. It is shown the last T tokens so far, so that networks that know
            one length alone will do.
        start: int64 [T], what the text begins with.
        dataset: says how inputs are prepared and what outputs mean.
        count: tokens to draw.
        temperature: what logits are divided by: below 1 likely tokens become likelier still, and 0 takes the likeliest.
        seed: of the draws.

    Returns:
        int64 [count], without the start.

    Raises:
        NetmorphError: nothing to begin with, or outputs that are no logits [1, T, tokens].
    """
    if start.ndim != 1 or not len(start):
        raise NetmorphError(f"a text is continued from tokens [T], at least one; got the shape {tuple(start.shape)}")
    models = [model] if isinstance(model, nn.Module) else list(model)
    generator = generator_of(seed)
    like, text = reference(models[0]), start[None].long().cpu()
    with ExitStack() as entered:
        for each in models:
            entered.enter_context(mode(each, training=False))
        for _ in range(count):
            seen = text[:, -len(start) :]
            inputs = prepare(seen, dataset, like)
            outputs = [checked_outputs(each(inputs), seen, each, dataset.task) for each in models]
            logits = dataset.task.combined(outputs)[0, -1].cpu()
            text = torch.cat((text, _drawn(logits, temperature, generator)[None]), 1)
    return text[0, len(start) :]


def _drawn(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """One token [1] by its logits [tokens]."""
    if temperature == 0:
        return logits.argmax(0, keepdim=True)
    return torch.multinomial((logits / temperature).softmax(0), 1, generator=generator)
