import pytest
import torch
from torch import nn

import netmorph
from netmorph import look
from netmorph.look import LookError


def centred(images):
    return images - 0.5


def found(model, objective, **more):
    options = {"prepare": centred, "steps": 24, "rate": 0.1} | more
    return look.excite(model, objective, (1, 8, 8), 2, **options)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)
    return nn.Sequential(*layers).double()


def test_an_image_of_what_a_template_matches():
    template = torch.zeros(2, 64, dtype=torch.float64)
    template[0, :32], template[1, 32:] = 1, 1
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2, bias=False)).double()
    network[1].weight.data = template - 0.5
    top, bottom = found(network, look.of_classes([0, 1]), jitter=0).images[:, 0]

    assert top[:4].mean() > 0.8 > 0.2 > top[4:].mean()
    assert bottom[4:].mean() > 0.8


def test_scores_rise_and_the_same_seed_gives_the_same(model):
    start, end = (found(model, look.of_classes([0, 2]), steps=steps) for steps in (0, 24))

    assert (end.scores > start.scores).all()
    assert end.images.min() >= 0
    assert end.images.max() <= 1
    assert torch.equal(end.images, found(model, look.of_classes([0, 2])).images)


def test_the_same_image_right_after_an_exact_edit(model):
    before = found(model, look.of_channels("4", [0, 1]))
    graph = netmorph.trace(model, torch.randn(2, 1, 8, 8, dtype=torch.float64))
    netmorph.apply(graph, netmorph.widen(graph, "0", to=8))
    after = found(model, look.of_channels("4", [0, 1]))

    assert (after.images - before.images).abs().max() < 1e-6


def test_colours_are_those_of_the_data():
    drawn = torch.randn(50, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    drawn[:, 1] = drawn[:, 0]
    mixing = look.colours(drawn)

    assert mixing.norm(dim=1).max() == pytest.approx(1)
    assert mixing[0].tolist() == pytest.approx(mixing[1].tolist())
    assert look.colours(torch.randint(255, (9, 1, 2, 2), dtype=torch.uint8)).tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("objective", "told"),
    [
        (look.of_classes([0, 3]), r"it gives \[2, 3\]"),
        (look.of_channels("0", [0, 9]), r"it has no channels \[0, 9\]"),
        (look.of_channels("conv", [0, 1]), "no layer 'conv'"),
    ],
)
def test_what_is_refused(model, objective, told):
    with pytest.raises(LookError, match=told):
        found(model, objective)
    with pytest.raises(LookError, match="only images"):
        look.excite(model, objective, (64,), 2, prepare=centred)
