"""Lazy layers get their weights where a network is trained; elsewhere the message says what to do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netmorph
from netmorph.errors import NetmorphError
from netmorph.measure.cost import cost, forward_flops
from netmorph.testing import check_groups
from netmorph.train.average import MovingAverage
from netmorph.train.loop import train
from netmorph.train.lr_finder import find_learning_rate
from netmorph.train.recipe import Recipe
from netmorph.train.stacked.many import train_many
from netmorph.zoo.building import ModelError, build
from tests.train.small import dataset, same_weights

IMAGES = torch.randn(2, 1, 6, 6)


def lazy(**_: Any) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3)
    )


class WithAuxiliaryHead(nn.Module):
    """Has a layer that eval mode does not reach."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.aside = lazy(), nn.LazyLinear(3)

    def forward(self, images: Tensor) -> Tensor:
        answer: Tensor = self.body(images)
        return answer + self.aside(images.flatten(1)) if self.training else answer


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("ema", [None, 0.9])
def test_training_goes_as_if_the_model_had_been_called_before(channels_last: bool, ema: float | None) -> None:
    recipe = Recipe(epochs=1, channels_last=channels_last, ema=ema)
    data, models = dataset(), []
    for called in (True, False):
        torch.manual_seed(3)
        model = lazy()
        if called:
            model.eval()(IMAGES)
            model.train()
        train(model, data, recipe)
        models.append(model)
    assert same_weights(*models)
    assert not any(isinstance(parameter, nn.UninitializedParameter) for parameter in models[1].parameters())


@pytest.mark.parametrize("stacked", [False, True])
def test_networks_that_train_together_draw_weights_of_their_own(stacked: bool) -> None:
    one, other = lazy(), lazy()
    with torch.no_grad():
        other[0].load_state_dict(one[0].state_dict())
    train_many([one, other], dataset(), [Recipe(epochs=1, channels_last=True)] * 2, seeds=[0, 0], stacked=stacked)
    assert not torch.allclose(one[5].weight, other[5].weight, atol=0.05)


def test_a_layer_that_no_batch_in_eval_mode_reaches_is_told() -> None:
    with pytest.raises(
        NetmorphError, match=r"'aside\.weight', 'aside\.bias' have no size yet; .* once .* in train mode"
    ):
        train(WithAuxiliaryHead(), dataset(), Recipe(epochs=1, channels_last=True))


@pytest.mark.parametrize(
    "use",
    [
        lambda model: netmorph.trace(model, IMAGES),
        lambda model: netmorph.trace(nn.Conv2d(1, 4, 3), IMAGES, copies=[model]),
        lambda model: find_learning_rate(model, dataset(), Recipe(channels_last=True)),
        lambda model: cost(model, IMAGES),
        lambda model: forward_flops(model, IMAGES),
        lambda model: MovingAverage(model, 0.9),
        lambda model: check_groups(model, IMAGES),
        lambda model: netmorph.save("nowhere.safetensors", model),
    ],
)
def test_elsewhere_the_message_says_to_run_it_once(use: Callable[[nn.Module], object]) -> None:
    model = lazy()
    kinds = list(map(type, model))
    with pytest.raises(NetmorphError, match=r"'1\.weight'.* have no size yet; run the model once on a batch"):
        use(model)
    assert list(map(type, model)) == kinds


def test_who_builds_the_network_of_a_file_or_a_run_is_told_to(tmp_path: Path) -> None:
    model, file = lazy(), tmp_path / "one.safetensors"
    model(IMAGES)
    netmorph.save(file, model)
    with pytest.raises(netmorph.LoadError, match=r"have no size yet; let base= run the network that it builds once"):
        netmorph.load(file, base=lazy)

    def called() -> nn.Module:
        made = lazy()
        made(IMAGES)
        return made

    assert same_weights(netmorph.load(file, base=called)[0], model)
    with pytest.raises(ModelError, match=rf"let {__name__}:lazy run the network that it builds once"):
        build(f"{__name__}:lazy", (1, 6, 6), 3)
