"""Candidates for the rank of a network: known numbers, what exact edits leave unchanged, what is refused."""

import copy

import pytest
import torch
from torch import Tensor, nn

from netmorph import EditError, apply, measure, residual, trace, widen, widenings, zoo
from netmorph.measure.cuts import cut_values

OF_FUNCTION = ("jacobian_participation", "jacobian_rank")


def data(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def linear(values: list[float]) -> nn.Module:
    """A linear map with these singular values."""
    model = nn.Sequential(nn.Linear(len(values), len(values)))
    with torch.no_grad():
        model[0].weight.copy_(torch.diag(torch.tensor(values)))
    return model


def test_a_linear_map_has_the_numbers_of_its_singular_values() -> None:
    x = data(16, 3)
    graph = trace(linear([2.0, 1.0, 0.0]), x.float())
    assert measure.layer_ranks(graph, [x]) == pytest.approx(2 / 3)
    entropy = -(2 / 3) * torch.tensor(2 / 3).log() - (1 / 3) * torch.tensor(1 / 3).log()
    assert measure.log_effective_rank(graph, [x]) == pytest.approx(float(entropy / torch.tensor(3.0).log()))
    assert measure.jacobian_participation(graph, [x[:10], x[10:]]) == pytest.approx(25 / 17)
    assert measure.jacobian_rank(graph, [x]) == 2
    assert measure.narrowest_cut(graph, [x]) == 2


def test_the_jacobian_is_that_of_autograd_for_each_sample() -> None:
    torch.manual_seed(0)
    model = zoo.build("lenet5", (1, 8, 8), 4, width=0.25)
    x = data(5, 1, 8, 8)
    twin = copy.deepcopy(model).double().eval()
    expected = []
    for sample in x:
        jacobian = torch.autograd.functional.jacobian(lambda given: twin(given[None])[0], sample).flatten(1)
        squares = torch.linalg.svdvals(jacobian).square()
        expected.append(float(squares.sum() ** 2 / squares.square().sum()))
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert measure.jacobian_participation(trace(model, x.float()), [x]) == pytest.approx(sum(expected) / 5)
    assert model.training
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("name", OF_FUNCTION)
def test_exact_edits_and_rescaling_leave_the_rank_of_the_function(name: str) -> None:
    torch.manual_seed(0)
    model = zoo.build("resnet", (2, 6, 6), 4, blocks=(1, 1), channels=(4, 6)).double()
    x, rank = data(6, 2, 6, 6), measure.NETWORK_RANKS[name]
    graph = trace(model, x)
    before = rank(graph, [x])
    graph = apply(graph, widen(graph, "stage1.0.conv1", 7, widenings.r2r))
    graph = apply(graph, residual(graph, "stage1"))
    assert rank(graph, [x]) == pytest.approx(before, rel=1e-6)
    block, scales = model.get_submodule("stage2.0"), torch.logspace(-1, 1, 6).double()
    with torch.no_grad():
        block.bn1.weight.mul_(scales)
        block.bn1.bias.mul_(scales)
        block.conv2.weight.div_(scales[:, None, None])
    assert rank(graph, [x]) == pytest.approx(before, rel=1e-6)


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_a_linear_layer_in_the_middle_bounds_what_the_function_does(rank: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, rank), nn.Linear(rank, 8), nn.ReLU(), nn.Linear(8, 6)
    )
    x = data(64, 6)
    graph = trace(model, x.float())
    assert measure.jacobian_participation(graph, [x]) <= rank + 1e-9
    assert measure.jacobian_rank(graph, [x]) <= rank
    assert measure.narrowest_cut(graph, [x]) <= rank


class Around(nn.Module):
    """A branch of one channel beside a skip connection."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up, self.out = nn.Linear(5, 1), nn.Linear(1, 5), nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x + self.up(self.down(x)))


def test_what_a_skip_connection_goes_round_is_no_cut() -> None:
    torch.manual_seed(0)
    model, x = Around(), data(32, 5)
    graph = trace(model, x.float())
    assert measure.narrowest_cut(graph, [x]) == 5
    cut = {value.shape for value in cut_values(graph)}
    assert (32, 1) not in cut


def test_of_many_outputs_random_directions_tell_the_ratio() -> None:
    model = nn.Sequential(nn.Linear(4, 2000, bias=False))
    with torch.no_grad():
        columns = torch.linalg.qr(data(2000, 4))[0]
        model[0].weight.copy_(columns * torch.tensor([2.0, 1.0, 1.0, 1.0]))
    x = data(2, 4)
    graph = trace(model, x.float())
    assert measure.jacobian_participation(graph, [x]) == pytest.approx(49 / 19, rel=0.1)
    assert measure.jacobian_rank(graph, [x]) == 4


def test_constant_outputs_have_rank_zero() -> None:
    x = data(8, 3)
    graph = trace(linear([0.0, 0.0, 0.0]), x.float())
    for name in ("layer_ranks", "log_effective_rank", "jacobian_participation", "jacobian_rank", "narrowest_cut"):
        assert measure.NETWORK_RANKS[name](graph, [x]) == 0, name


class Mixing(nn.Module):
    """Each sample sees the mean of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x - x.mean(0))


def test_samples_that_see_each_other_are_refused() -> None:
    graph = trace(Mixing(), data(4, 3).float())
    with pytest.raises(EditError, match="batches of one sample each"):
        measure.jacobian_participation(graph, [data(4, 3)])


def test_tokens_are_refused_by_the_jacobian() -> None:
    graph = trace(zoo.build("gpt", (4,), 7, channels=8, heads=2, depth=1), zoo.example("gpt", (4,), 7))
    with pytest.raises(EditError, match=r"float inputs, got torch\.int64"):
        measure.jacobian_participation(graph, [graph.inputs])


@pytest.mark.parametrize("name", measure.NETWORK_RANKS)
def test_weights_that_are_no_numbers_are_refused(name: str) -> None:
    model, x = linear([1.0, 2.0]), data(4, 2)
    graph = trace(model, x.float())
    with torch.no_grad():
        model[0].weight[0, 0] = float("nan")
    with pytest.raises(EditError, match=r"'0.weight' holds numbers that are not finite"):
        measure.NETWORK_RANKS[name](graph, [x])


@pytest.mark.parametrize("name", [*OF_FUNCTION, "narrowest_cut"])
@pytest.mark.parametrize("batches", [[], [torch.zeros(0, 2)], [torch.full((4, 2), float("nan"))]])
def test_data_of_which_nothing_can_be_told_is_refused(name: str, batches: list[Tensor]) -> None:
    graph = trace(nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2)), data(4, 2).float())
    with pytest.raises(EditError, match=r"no batches|no samples|not finite"):
        measure.NETWORK_RANKS[name](graph, batches)
