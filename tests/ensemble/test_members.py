import pytest
import torch
from torch import Tensor

from netmorph.ensemble import EnsembleError, combined, greedy
from netmorph.tasks import classification, regression

CLASSES = classification()
VALUES = regression()


def logits(*probabilities: float) -> Tensor:
    """Of two classes, by the probability of the first for each sample."""
    first = torch.tensor(probabilities)
    return torch.stack([first, 1 - first], 1).log()


def test_counts_are_weights() -> None:
    found = combined([logits(0.9), logits(0.1), logits(0.5)], CLASSES, counts=(3, 1, 0)).softmax(1)
    assert found[0, 0].item() == pytest.approx(0.75 * 0.9 + 0.25 * 0.1)
    assert combined([torch.ones(1, 1), torch.zeros(1, 1)], VALUES).item() == 0.5


def test_each_pick_makes_the_ensemble_best() -> None:
    outputs = [torch.tensor([[value]]) for value in (4.0, -2.0, 9.0)]
    # The best alone is -2; with it 4 makes 1; -2 again makes 0, which is right.
    assert greedy(outputs, torch.zeros(1, 1), VALUES, picks=10) == (1, 2, 0)
    assert greedy(outputs, torch.zeros(1, 1), VALUES, picks=1) == (0, 1, 0)


def test_of_all_ensembles_on_the_way_the_best_is_kept() -> None:
    outputs = [torch.tensor([[value]]) for value in (0.0, 5.0)]
    assert greedy(outputs, torch.zeros(1, 1), VALUES, picks=7) == (1, 0)


def test_selection_is_no_worse_than_its_best_member_and_is_judged_as_asked() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (60,), generator=generator)
    right = torch.nn.functional.one_hot(labels, 3)
    outputs = [scale * right + torch.randn(60, 3, generator=generator) for scale in (0.5, 1.0, 1.0, 1.5)]

    def wrong(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.argmax(1) != targets).double().mean()

    for judge in (CLASSES.loss, wrong):
        counts = greedy(outputs, labels, CLASSES, judge=judge)
        together = judge(combined(outputs, CLASSES, counts), labels)
        assert together <= min(judge(each, labels) for each in outputs)


def test_bags_hold_parts_of_the_library_and_add_up() -> None:
    outputs = [torch.tensor([[float(value)]]) for value in range(1, 9)]
    target = torch.zeros(1, 1)
    alone, bagged = (greedy(outputs, target, VALUES, picks=1, bags=bags, share=0.25) for bags in (1, 30))
    assert alone == (1, 0, 0, 0, 0, 0, 0, 0)
    assert sum(bagged) == 30
    assert 1 <= bagged[0] < 30
    assert bagged == greedy(outputs, target, VALUES, picks=1, bags=30, share=0.25)
    assert bagged != greedy(outputs, target, VALUES, picks=1, bags=30, share=0.25, seed=1)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: greedy([], torch.zeros(1), VALUES), "no network to choose"),
        (lambda: greedy([torch.zeros(1, 1)], torch.zeros(1, 1), VALUES, picks=0), "at least 1"),
        (lambda: greedy([torch.zeros(1, 1)], torch.zeros(1, 1), VALUES, share=0), "share is above 0"),
        (lambda: greedy([torch.full((1, 1), torch.nan)], torch.zeros(1, 1), VALUES), "look at the networks"),
        (lambda: combined([torch.zeros(1, 1)], VALUES, counts=(0,)), "one of them counts"),
        (lambda: combined([torch.zeros(1, 1)], VALUES, counts=(1, 1)), "each of the 1 networks"),
        (lambda: combined([], VALUES), "no network that could answer"),
    ],
)
def test_what_makes_no_ensemble_is_refused(call, told) -> None:
    with pytest.raises(EnsembleError, match=told):
        call()


def test_a_network_that_has_diverged_is_never_picked_wherever_it_stands() -> None:
    targets = torch.tensor([0, 1])
    good, worse, diverged = 5 * torch.eye(2), 0.1 * torch.eye(2), torch.full((2, 2), torch.nan)
    for outputs in ([diverged, good, worse], [good, diverged, worse]):
        counts = greedy(outputs, targets, classification())
        assert [bool(count) for count in counts] == [output is good for output in outputs]
