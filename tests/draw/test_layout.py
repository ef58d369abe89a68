from itertools import combinations

import pytest
import torch
from torch import nn

from netmorph import draw, trace, zoo
from netmorph.draw import svg
from netmorph.draw.layout import lay
from netmorph.draw.placed import Laid
from tests.draw.nets import Dense, Heads, Residual, UNet, images

NETS = {
    "unet": (UNet, images),
    "dense": (Dense, images),
    "heads": (Heads, lambda: torch.randn(2, 6)),
    "residual": (lambda: nn.Sequential(Residual(3), nn.ReLU(), Residual(3)), images),
    "gpt": (lambda: zoo.build("gpt", (16,), 32), lambda: zoo.example("gpt", (16,), 32)),
    "resnet": (lambda: zoo.build("resnet", (3, 16, 16), 10), lambda: images(16)),
}


@pytest.fixture(params=NETS)
def laid(request) -> Laid:
    build, inputs = NETS[request.param]
    return lay(draw.architecture(trace(build(), inputs())).at(), svg.lines)


def all_of(laid: Laid):
    yield laid
    for inner in laid.inside:
        yield from all_of(inner)


def test_no_box_lies_on_another_or_outside(laid):
    for box in all_of(laid):
        for inner in box.inside:
            assert inner.x >= -0.1
            assert inner.x + inner.width <= box.width + 0.1
            assert box.header - 0.1 <= inner.y
            assert inner.y + inner.height <= box.height + 0.1
        for one, other in combinations(box.inside, 2):
            apart = (
                one.x + one.width <= other.x
                or other.x + other.width <= one.x
                or one.y + one.height <= other.y + 0.1
                or other.y + other.height <= one.y + 0.1
            )
            assert apart, (one.box.path, other.box.path)


def test_lines_run_around_boxes_and_downwards(laid):
    for box in all_of(laid):
        for wire in box.wires:
            for (x, y), (to_x, to_y) in zip(wire.points, wire.points[1:], strict=False):
                assert x == pytest.approx(to_x) or y == pytest.approx(to_y)
                assert to_y >= y - 0.1
                for inner in box.inside:
                    left, right = sorted((x, to_x))
                    crosses = (
                        left < inner.x + inner.width - 0.5
                        and right > inner.x + 0.5
                        and y < inner.y + inner.height - 0.5
                        and to_y > inner.y + 0.5
                    )
                    assert not crosses, (wire.edge, inner.box.path)


def test_the_longest_way_is_a_straight_line(laid):
    straight = [wire for wire in laid.wires if len({round(x) for x, _ in wire.points}) == 1]

    assert len(straight) >= len(laid.inside) - 1 or len(laid.inside) == 1
