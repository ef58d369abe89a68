from dataclasses import replace

import pytest
import torch
from torch import nn

import netmorph
from netmorph.data import Dataset
from netmorph.ensemble import (
    Ensemble,
    EnsembleError,
    Mutated,
    Softened,
    Widened,
    combine,
    core_widths,
    distilled,
    hatch,
    outputs_of,
    snapshots,
    summed,
    tuning,
)
from netmorph.errors import NetmorphError
from netmorph.graph import Graph
from netmorph.train import Recipe, evaluate, predict, train
from netmorph.train.inputs import examples
from tests.train import other_tasks
from tests.train.small import dataset, network, same_weights

DATA = dataset()
RECIPE = Recipe(epochs=2, batch_size=30)
OTHERS = {"values": other_tasks.regression, "rows": other_tasks.table, "text": other_tasks.text}


def traced(model: nn.Module, data: Dataset = DATA) -> Graph:
    return netmorph.trace(model, examples(data, model))


@pytest.fixture(scope="module")
def members() -> list[nn.Module]:
    """Two networks that have learnt."""
    models: list[nn.Module] = [network(seed=seed) for seed in range(2)]
    for seed, model in enumerate(models):
        train(model, DATA, replace(RECIPE, epochs=4, learning_rate=0.01), seed=seed)
    return models


# -- answers -----------------------------------------------------------------------------------------------------------


def test_an_ensemble_is_measured_like_its_members_together(members) -> None:
    both = evaluate(members, DATA.test, DATA).numbers
    assert evaluate(Ensemble(members, DATA.task), DATA.test, DATA).numbers == pytest.approx(both)
    alone = Ensemble(members, DATA.task, counts=(0, 5))
    assert len(alone.members) == 1
    torch.testing.assert_close(predict(alone, DATA.test, DATA), predict(members[1], DATA.test, DATA))


def test_outputs_are_what_the_task_takes(members) -> None:
    outputs = outputs_of(members[0], DATA.test, DATA)
    torch.testing.assert_close(outputs.softmax(1), predict(members[0], DATA.test, DATA))


# -- a head over all features ------------------------------------------------------------------------------------------


def test_a_combiner_reads_all_features_and_learns_from_there(members) -> None:
    before = [{name: tensor.clone() for name, tensor in model.state_dict().items()} for model in members]
    combiner = combine([traced(model) for model in members], DATA)
    assert combiner.head.in_features == 2 * 4 * 36
    assert evaluate(combiner, DATA.test, DATA)["accuracy"] >= 0.8
    # As sure as it is right: without a temperature, answers near 0 and 1 would be probabilities near a third.
    assert evaluate(combiner, DATA.validation, DATA).loss < 0.6
    train(combiner, DATA, RECIPE)
    assert all(
        torch.equal(tensor, model.state_dict()[name])
        for model, known in zip(members, before, strict=True)
        for name, tensor in known.items()
    )


def test_a_combiner_can_be_a_member_of_another(members) -> None:
    below = combine([traced(model) for model in members], DATA, penalty=1e-2)
    above = combine([traced(below), traced(members[0])], DATA, penalty=1e-2)
    assert above.head.in_features == below.head.in_features + 4 * 36
    assert evaluate(above, DATA.test, DATA)["accuracy"] >= 0.8


def test_features_of_relatives_can_be_summed(members) -> None:
    combiner = combine([traced(model) for model in members], DATA, join=summed, part=DATA.validation, penalty=1.0)
    assert combiner.head.in_features == 4 * 36


@pytest.mark.parametrize("of", ["values", "text"])
def test_values_and_tokens_are_combined_too(of) -> None:
    model, data = OTHERS[of]()
    if of == "text":  # the gpt's head is its embedding
        model = nn.Sequential(nn.Embedding(data.outputs, 8), nn.Linear(8, data.outputs))
    train(model, data, replace(RECIPE, epochs=1))
    combiner = combine([traced(model, data), traced(model, data)], data, penalty=1e-2)
    assert evaluate(combiner, data.validation, data).loss < evaluate(model, data.validation, data).loss


def test_features_that_cannot_be_joined_are_refused(members) -> None:
    other = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    with pytest.raises(EnsembleError, match="use concatenated"):
        combine([traced(members[0]), traced(other)], DATA, join=summed)
    with pytest.raises(EnsembleError, match="no network whose features"):
        combine([], DATA)


# -- how members come about --------------------------------------------------------------------------------------------


def test_snapshots_are_the_ends_of_cycles() -> None:
    model, again = network(), network()
    kept = snapshots(model, DATA, replace(RECIPE, epochs=4), cycles=2, seed=3)
    assert same_weights(kept[1], model)
    assert not same_weights(kept[0], kept[1])
    train(again, DATA, RECIPE, seed=3)
    assert same_weights(kept[0], again)  # the first cycle is a training like any other
    with pytest.raises(EnsembleError, match="3 epochs cannot be shared equally by 2"):
        snapshots(model, DATA, replace(RECIPE, epochs=3), cycles=2)


def test_members_hatch_exactly_and_each_in_its_own_way(members) -> None:
    core = traced(members[0])
    known = outputs_of(members[0], DATA.test, DATA)
    hatched = hatch(core, Mutated(), 3, seed=1)
    for member in hatched:
        torch.testing.assert_close(outputs_of(member.model, DATA.test, DATA), known, atol=1e-5, rtol=1e-4)
    sizes = {tuple(tensor.shape for tensor in member.model.parameters()) for member in hatched}
    assert len(sizes) == 3
    again = hatch(core, Mutated(), 3, seed=1)
    assert all(same_weights(one.model, other.model) for one, other in zip(hatched, again, strict=True))


def test_a_core_is_inside_all_members() -> None:
    targets = [{"0": 6, "5": 3}, {"0": 4, "5": 3}]
    assert core_widths(targets) == {"0": 4, "5": 3}
    first, second = hatch(traced(network()), [Widened({"0": 6}), Widened({"0": 4})])
    assert [first.group("0").size, second.group("0").size] == [6, 4]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda core: hatch(core, Mutated()), "Give a count"),
        (lambda core: hatch(core, [Mutated()], 2), "1 ways to grow"),
        (lambda core: core_widths([{"a": 1}, {"b": 1}]), "the same groups"),
    ],
)
def test_members_that_cannot_hatch_are_refused(call, told) -> None:
    with pytest.raises(EnsembleError, match=told):
        call(traced(network()))


# -- one network that learns from all ----------------------------------------------------------------------------------


def test_a_lesson_is_the_cross_entropy_of_softened_answers() -> None:
    outputs, taught = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    by_hand = nn.functional.cross_entropy(outputs / 4, (taught / 4).softmax(1)) * 16
    torch.testing.assert_close(Softened(4.0)(outputs, taught), by_hand)


def test_a_student_learns_from_its_teachers_alone(members) -> None:
    taught = distilled(DATA, members, weight=1.0)
    student = network(seed=5)
    history = train(student, taught, replace(RECIPE, epochs=4, learning_rate=0.01))
    assert history.best.validation["accuracy"] >= 0.8
    # What is validated are the targets, by the task's own loss.
    assert evaluate(student, DATA.validation, DATA).numbers == pytest.approx(dict(history.best.validation))


def test_without_weight_a_lesson_changes_nothing(members) -> None:
    one, other = network(), network()
    train(one, distilled(DATA, members, weight=0.0), RECIPE)
    train(other, DATA, RECIPE)
    assert same_weights(one, other)


@pytest.mark.parametrize("of", OTHERS)
def test_values_rows_and_tokens_are_taught_too(of) -> None:
    model, data = OTHERS[of]()
    taught = distilled(data, model, weight=1.0)
    assert taught.train.digest() != data.train.digest()
    loss = train(model, taught, replace(RECIPE, epochs=1)).best.validation["loss"]
    assert loss == pytest.approx(evaluate(model, data.validation, data).loss)


def test_what_nobody_knows_of_a_teacher_is_refused(members) -> None:
    taught = distilled(DATA, members)
    for wrong in ({"mixup": 0.2}, {"label_smoothing": 0.1}, {"class_weights": (1, 1, 2)}):
        with pytest.raises(NetmorphError):
            train(network(), taught, replace(RECIPE, **wrong))
    with pytest.raises(EnsembleError, match="weight of what a teacher says"):
        distilled(DATA, members, weight=1.5)
    with pytest.raises(EnsembleError, match="above 0"):
        Softened(0.0)


def test_tuning_ends_at_a_rate_of_zero() -> None:
    found = tuning(replace(RECIPE, schedule="step", patience=1, learning_rate=0.1, warmup=0.3), 5, rate=0.5)
    assert found == replace(RECIPE, epochs=5, learning_rate=0.05)
