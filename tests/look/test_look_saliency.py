import copy
import sys

import pytest
import torch
from torch import nn

import netmorph
from netmorph import look
from netmorph.errors import MissingExtra
from netmorph.look import LookError
from netmorph.widenings import net2net, r2r, random_pad

pytest.importorskip("captum")
METHODS = [look.gradients, look.integrated_gradients, look.grad_cam("0")]
IMAGES = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
CLASSES = torch.tensor([0, 1, 2, 0])


@pytest.fixture(scope="module")
def trained():
    """A network whose ReLUs overwrite what they read, as those of many networks do."""
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(4, 3, 3), nn.ReLU(inplace=True)),
        *(nn.Flatten(), nn.Linear(3 * 36, 3)),
    ).double()


@pytest.mark.parametrize("widening", [r2r, net2net])
@pytest.mark.parametrize("method", METHODS)
def test_maps_are_the_same_right_after_an_exact_edit(trained, widening, method):
    model = copy.deepcopy(trained)
    before = look.saliency(model, IMAGES, CLASSES, method)
    graph = netmorph.trace(model, IMAGES)
    netmorph.apply(graph, netmorph.widen(graph, "0", to=8, method=widening))
    after = look.saliency(model, IMAGES, CLASSES, method)

    assert before.shape == (4, 8, 8)
    assert before.max() > 0
    assert (after - before).abs().max() < 1e-6


def test_they_differ_after_an_edit_that_is_not_exact_and_of_a_network_that_has_learnt_nothing(trained):
    model = copy.deepcopy(trained)
    before = look.saliency(model, IMAGES, CLASSES)
    graph = netmorph.trace(model, IMAGES)
    netmorph.apply(graph, netmorph.widen(graph, "0", to=8, method=random_pad))

    assert (look.saliency(model, IMAGES, CLASSES) - before).abs().max() > 1e-3
    random = look.shuffled(trained)
    assert torch.equal(random[0].weight.flatten().sort().values, trained[0].weight.flatten().sort().values)
    assert look.alike(before, look.saliency(random, IMAGES, CLASSES)).mean() < 0.9


def test_gradients_and_grad_cam_are_what_they_say(trained):
    images = IMAGES.clone().requires_grad_()
    plain = copy.deepcopy(trained)
    plain[1], plain[3] = nn.ReLU(), nn.ReLU()
    maps = plain[0](images)
    logits = plain[1:](maps)[torch.arange(4), CLASSES].sum()
    by_image, by_maps = torch.autograd.grad(logits, [images, maps])

    assert torch.allclose(look.saliency(trained, IMAGES, CLASSES), by_image.abs()[:, 0])
    cam = (by_maps.mean((2, 3), keepdim=True) * maps).sum(1).relu()
    assert torch.allclose(look.saliency(trained, IMAGES, CLASSES, look.grad_cam("0")), cam)


def test_a_network_is_left_as_it_was(trained):
    model = copy.deepcopy(trained).train()
    model[2].eval()
    look.saliency(model, IMAGES, CLASSES)

    assert model[1].inplace
    assert [module.training for module in model] == [True, True, False, True, True, True]
    assert all(parameter.grad is None for parameter in model.parameters())


def test_ranks_of_pixels():
    one = torch.tensor([[[0.0, 1.0], [2.0, 3.0]]])

    assert look.alike(one, one.exp()).item() == pytest.approx(1)
    assert look.alike(one, -one).item() == pytest.approx(-1)
    assert look.alike(one, torch.tensor([[[0.0, 0.0], [1.0, 1.0]]])).item() == pytest.approx(2 / 5**0.5)
    assert look.alike(one, torch.ones(1, 2, 2)).isnan().all()


def test_which_layers_have_maps(trained):
    assert look.last_maps(trained, IMAGES) == "2"
    with pytest.raises(LookError, match="and this network has none"):
        look.last_maps(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).double(), IMAGES)


@pytest.mark.parametrize(
    ("images", "method", "told"),
    [
        (IMAGES, look.grad_cam("5"), r"'5' gives \(1, 3\); layers with maps are 0, 1, 2, 3"),
        (IMAGES, look.grad_cam("conv"), "no layer 'conv'"),
        (IMAGES[0, 0], look.gradients, r"images \[N, C, H, W\], got \[8, 8\]"),
    ],
)
def test_what_is_refused(trained, images, method, told):
    with pytest.raises(LookError, match=told):
        look.saliency(trained, images, CLASSES, method)
    with pytest.raises(LookError, match="with the class 7"):
        look.saliency(trained, IMAGES, CLASSES + 5)


def test_captum_is_asked_for(trained, monkeypatch):
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(MissingExtra, match=r"pip install 'netmorph\[look\]'"):
        look.saliency(trained, IMAGES, CLASSES)
