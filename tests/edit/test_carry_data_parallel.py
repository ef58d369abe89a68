"""Two real processes that train together: one edit, made by both or by none, and replicas that stay equal."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as processes
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from netmorph import EditError, NetmorphError, apply, narrow, residual, trace, widen
from netmorph.graph.unwrap import unwrap

Scene = Callable[[int, Path], None]


def network() -> tuple[nn.Sequential, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2))
    return model, torch.randn(8, 4)


def trained(model: nn.Module, optimizer: torch.optim.Optimizer, rank: int, steps: int = 3) -> None:
    """On data that differ between the processes."""
    generator = torch.Generator().manual_seed(rank)
    for _ in range(steps):
        optimizer.zero_grad()
        (model(torch.randn(8, 4, generator=generator)) - 1).square().mean().backward()
        optimizer.step()


def gathered(value: object) -> list:
    found: list = [None, None]
    dist.all_gather_object(found, value)
    return found


def replicas_are_equal(model: nn.Module) -> bool:
    mine, other = gathered([parameter.detach().clone() for parameter in model.parameters()])
    return all(torch.equal(one, two) for one, two in zip(mine, other, strict=True))


def edit_and_go_on(rank: int, folder: Path) -> None:
    model, x = network()
    wrapper = DistributedDataParallel(model, find_unused_parameters=True, bucket_cap_mb=1)
    calls: list[int] = []
    wrapper.register_forward_hook(lambda *_: calls.append(1))
    optimizer = torch.optim.AdamW(wrapper.parameters(), lr=0.01)
    trained(wrapper, optimizer, rank)
    graph = trace(wrapper, x)
    graph = apply(graph, widen(graph, "0", 9), optimizer)
    trained(wrapper, optimizer, rank)
    graph = apply(graph, residual(graph, after="2"), optimizer)
    graph = apply(graph, narrow(graph, "4", [0, 2, 4]), optimizer)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    trained(wrapper, optimizer, rank)
    assert graph.wrapper is wrapper
    assert wrapper.module is model
    assert wrapper.find_unused_parameters
    assert wrapper.bucket_bytes_cap == 2**20
    assert len(calls) == 9
    assert all(bool((p != old).any()) for p, old in zip(model.parameters(), before, strict=True))
    assert replicas_are_equal(model)


def forgotten_wrapper(rank: int, folder: Path) -> None:
    """What happens where the module behind the wrapper is traced, so that `apply` knows of no wrapper."""
    model, x = network()
    wrapper = DistributedDataParallel(model)
    optimizer = torch.optim.AdamW(wrapper.parameters(), lr=0.01)
    trained(wrapper, optimizer, rank)
    graph = trace(model, x)
    apply(graph, widen(graph, "0", 9), optimizer)
    trained(wrapper, optimizer, rank, steps=1)
    assert not replicas_are_equal(model)


def one_process_cannot(rank: int, folder: Path) -> None:
    model, x = network()
    wrapper = DistributedDataParallel(model)
    graph = trace(wrapper, x)
    edit = widen(graph, "0", 9)
    if rank == 1:
        model[0].weight = nn.Parameter(model[0].weight[:, :3].detach())  # its graph is out of date
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(EditError) as caught:
        apply(graph, edit)
    assert str(caught.value).startswith("this graph is out of date" if rank else "process 1 could not make this edit")
    assert all(torch.equal(before[name], now) for name, now in model.state_dict().items())


def two_edits(rank: int, folder: Path) -> None:
    model, x = network()
    graph = trace(DistributedDataParallel(model), x)
    with pytest.raises(EditError, match=r"makes another edit, so no process made one"):
        apply(graph, widen(graph, "0", 9 + rank))
    assert model[0].weight.shape == (6, 4)


def random_numbers_of_their_own(rank: int, folder: Path) -> None:
    """Fresh weights may depend on the process: those of the first count."""
    model, x = network()
    graph = trace(DistributedDataParallel(model), x)
    apply(graph, widen(graph, "0", 9, seed=rank))
    assert replicas_are_equal(model)


def hooked(rank: int, folder: Path) -> None:
    model, x = network()
    wrapper = DistributedDataParallel(model)
    wrapper.register_comm_hook(None, lambda state, bucket: dist.all_reduce(bucket.buffer(), async_op=True).get_future())
    with pytest.raises(NetmorphError, match=r"communication hook.*trace its \.module"):
        trace(wrapper, x)


def sharded(rank: int, folder: Path) -> None:
    model, x = network()
    fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    with pytest.raises(NetmorphError, match=r"'0.weight' is sharded.*before sharding it"):
        trace(model, x)


SCENES: list[Scene] = [
    edit_and_go_on,
    forgotten_wrapper,
    one_process_cannot,
    two_edits,
    random_numbers_of_their_own,
    hooked,
    sharded,
]


def play(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    for scene in SCENES:
        try:
            scene(rank, folder)
        except Exception as error:
            raise AssertionError(f"{scene.__name__} in process {rank}") from error
        dist.barrier()
        (folder / f"{scene.__name__}.{rank}").touch()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One pair of processes plays all scenes: starting them takes longer than the scenes do."""
    folder = tmp_path_factory.mktemp("processes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLOO_SOCKET_IFNAME", "lo")
        processes.spawn(play, (folder,), nprocs=2)
    return folder


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_in_two_processes(scene: Scene, played: Path) -> None:
    assert all((played / f"{scene.__name__}.{rank}").exists() for rank in (0, 1))


def test_a_plain_module_has_no_wrapper() -> None:
    model, x = network()
    assert unwrap(model) == (model, None)
    assert trace(model, x).wrapper is None
