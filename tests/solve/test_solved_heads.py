"""Last layers that are solved, and hidden layers by Forward Projection."""

import pytest
import torch
from torch import Tensor, nn

import netmorph
from netmorph.solve import Moments, SolveError, choose_penalty, one_hot, project_forward, ridge, solve_head, wrong


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dataset = netmorph.data.load("digits")
    like = torch.zeros(())
    train, test = dataset.train, dataset.test
    prepared = (dataset.preparation(part.head(len(part)), like).double() for part in (train, test))
    x, x_test = prepared
    return x, train.targets, x_test, test.targets


def accuracy(model: nn.Module, x: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        return float((model(x.float()).argmax(1) == labels).double().mean())


def test_a_solved_head_is_the_ridge_regression_of_what_the_layer_reads(digits: tuple[Tensor, ...]) -> None:
    x, labels, x_test, test_labels = digits
    torch.manual_seed(0)
    model = netmorph.zoo.build("lenet5", (1, 8, 8), 10)
    graph = netmorph.trace(model, x[:4].float())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batches = list(zip(x.float().split(128), labels.split(128), strict=True))
    found = solve_head(graph, batches)

    assert found.path == "fc3"
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with torch.no_grad():
        features = model[:-1](x.float())
    moments = Moments.of([(features, one_hot(labels, 10))])
    assert found.penalty == pytest.approx(choose_penalty(moments, [(features, one_hot(labels, 10))]))
    assert torch.allclose(found.head.weight, ridge(moments, found.penalty).weight, atol=1e-3)
    assert accuracy(found.model, x_test, test_labels) > 0.7 > 0.3 > accuracy(model, x_test, test_labels)


def test_other_classes_than_the_network_had(digits: tuple[Tensor, ...]) -> None:
    x, labels, _, _ = digits
    model = netmorph.zoo.build("mlp", (1, 8, 8), 10)
    graph = netmorph.trace(model, x[:4].float())
    found = solve_head(graph, [(x.float(), labels % 2)], classes=2, penalty=1.0, cost=wrong)
    assert found.model(x[:3].float()).shape == (3, 2)
    assert found.penalty == 1


def test_values_and_positions() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
    x = torch.randn(30, 5, 4)
    with torch.no_grad():
        y = model(x)
    found = solve_head(netmorph.trace(model, x[:2]), [(x, y)], penalty=1e-6)
    assert torch.allclose(found.model(x), y, atol=1e-3)


def test_a_network_that_is_its_head() -> None:
    model = nn.Linear(3, 2)
    x = torch.randn(40, 3)
    found = solve_head(netmorph.trace(model, x[:2]), [(x, model(x).detach())], penalty=1e-6)
    assert torch.allclose(found.model(x), model(x), atol=1e-3)


def test_where_there_is_no_head() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten())
    images = torch.randn(2, 1, 3, 3)
    for one in (model, model[:1]):
        with pytest.raises(SolveError, match=r"no nn\.Linear gives the network's output; give path="):
            solve_head(netmorph.trace(one, images), [(images, torch.tensor([0, 1]))])
    with pytest.raises(SolveError, match=r"'0' is a Conv2d; only an nn\.Linear is solved"):
        solve_head(netmorph.trace(model, images), [(images, torch.tensor([0, 1]))], path="0")


def test_forward_projection_beats_random_layers_of_its_widths(digits: tuple[Tensor, ...]) -> None:
    x, labels, x_test, test_labels = digits
    batches = [(x.flatten(1), one_hot(labels, 10))]
    network = project_forward(batches, [30, 30], seed=1)
    assert [type(layer) for layer in network] == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]
    torch.manual_seed(1)
    random = netmorph.zoo.build("mlp", (64,), 10, hidden=(30, 30))
    solved = solve_head(netmorph.trace(random, x[:4].float().flatten(1)), [(x.float().flatten(1), labels)]).model
    projected, drawn = (accuracy(each, x_test.flatten(1), test_labels) for each in (network, solved))
    assert projected > 0.85 > 0.8 > drawn


@pytest.mark.parametrize(("given", "penalty"), [({}, 10.0), ({"penalty": 3.0}, 3.0)])
def test_a_hidden_layer_is_fitted_to_both_codes(
    digits: tuple[Tensor, ...], given: dict[str, float], penalty: float
) -> None:
    x, labels, _, _ = digits
    x, y = x.flatten(1)[:300], one_hot(labels, 10)[:300]
    network = project_forward([(x, y)], [40], seed=4, **given)
    generator = torch.Generator().manual_seed(4)
    q = torch.randn(64, 40, generator=generator, dtype=torch.float64)
    u = torch.randn(10, 40, generator=generator, dtype=torch.float64)
    expected = ridge(Moments.of([(x, (x @ q).sign() + (y.double() @ u).sign())]), penalty)
    assert torch.allclose(network[0].weight.double(), expected.weight, atol=1e-5)


def test_a_hidden_layer_may_have_one_unit() -> None:
    network = project_forward([(torch.randn(20, 3), torch.randn(20, 2))], [1])
    assert network(torch.randn(5, 3)).shape == (5, 2)


def test_what_cannot_be_projected() -> None:
    pair = (torch.randn(20, 3), torch.randn(20, 2))
    with pytest.raises(SolveError, match=r"widths are the units of each hidden layer, 1 or more; got \[\]"):
        project_forward([pair], [])
    with pytest.raises(SolveError, match="an iterator is used up"):
        project_forward(iter([pair]), [4])
