"""Two processes over gloo, as `torchrun` starts them, beside one."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from netmorph.errors import NetmorphError
from netmorph.train import checkpoint
from netmorph.train.advice import advice
from netmorph.train.loop import train
from netmorph.train.parallel import ONE_PROCESS, World, from_first, gathering, joined, own_device, total
from netmorph.train.recipe import Recipe
from tests.train.small import dataset
from tests.train.together import KILLED_AFTER, LONG, RECIPES, plain_network

REPOSITORY = Path(__file__).parents[2]


def torchrun(folder: Path, *cases: str) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*launcher, "-m", "tests.train.together", str(folder), *cases],
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=250,
    )


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """What two processes left, and said when the last case failed in one of them."""
    folder = tmp_path_factory.mktemp("two")
    done = torchrun(folder, "alike", "normalized", "edited", "failing")
    assert done.returncode == 1
    return folder, done.stderr


@pytest.mark.parametrize("name", RECIPES)
def test_two_processes_train_like_one(two: tuple[Path, str], name: str) -> None:
    model = plain_network()
    history = train(model, dataset(), RECIPES[name])
    for rank in (0, 1):
        weights, meta = checkpoint.load(two[0] / f"{name}-{rank}")
        for key, tensor in model.state_dict().items():
            torch.testing.assert_close(weights[key], tensor, rtol=0, atol=1e-10)
        for epoch, told in zip(history, meta["history"], strict=True):
            assert told["train"]["loss"] == pytest.approx(epoch.train["loss"], rel=1e-6)
            assert told["train"]["accuracy"] == epoch.train["accuracy"]
            assert told["validation"]["loss"] == pytest.approx(epoch.validation["loss"], rel=1e-9)
            assert told["validation"]["accuracy"] == pytest.approx(epoch.validation["accuracy"])


def test_both_end_with_the_same_bits(two: tuple[Path, str]) -> None:
    """With batch normalization, dropout and an average, from different weights: those of the first go to all."""
    (first, meta), (second, same) = (checkpoint.load(two[0] / f"normalized-{rank}") for rank in (0, 1))
    assert meta == same
    assert len(meta["history"]) == LONG.epochs
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert meta["history"][-1]["train"]["loss"] < 0.8 * meta["history"][0]["train"]["loss"]


def test_both_make_the_same_edits_and_make_them_again(two: tuple[Path, str]) -> None:
    (first, meta), *others = (
        checkpoint.load(two[0] / f"{name}-{rank}") for name in ("whole", "resumed") for rank in (0, 1)
    )
    assert len(meta["history"]) == LONG.epochs
    assert len(checkpoint.load(two[0] / "edited")[1]["journal"]["last"]) == 5
    before = checkpoint.load(checkpoint.previous(two[0] / "edited"))[1]
    assert (len(before["history"]), before["position"]["step"]) == (LONG.epochs - 1, 0)
    for tensors, same in others:
        assert same == meta
        assert all(torch.equal(first[name], tensors[name]) for name in first)


def test_an_error_in_one_ends_all_and_is_told_once(two: tuple[Path, str]) -> None:
    raised = re.findall(r"\[rank(\d)\]: \S*Error|\[rank(\d)\]: \S*NotFinite: .*Dropout", two[1])
    assert raised == [("", "1")]
    assert not list(two[0].glob("failing-*"))


@pytest.mark.slow
def test_killed_together_they_end_with_the_bits_of_an_undisturbed_run(tmp_path: Path) -> None:
    for epochs in KILLED_AFTER:
        done = torchrun(tmp_path, "killed")
        assert done.returncode != 0
        assert done.stderr.count("Signal 9 (SIGKILL)") == 2
        assert len(checkpoint.load(tmp_path / "state")[1]["history"]) == epochs
    assert torchrun(tmp_path, "killed", "normalized").returncode == 0
    for rank in (0, 1):
        (resumed, meta), (whole, expected) = (
            checkpoint.load(tmp_path / f"{n}-{rank}") for n in ("killed", "normalized")
        )
        assert json.dumps(meta) == json.dumps(expected)
        assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_without_torchrun_one_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    with joined() as world:
        assert world == ONE_PROCESS == World(0, 1)
        assert from_first(lambda: 3, world) == 3
        assert own_device("cuda:7", world) == "cuda:7"
        numbers = torch.ones(2)
        assert total(numbers, world) is numbers


def test_gradients_of_a_batch_in_parts_travel_once() -> None:
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        wrapped = DistributedDataParallel(nn.Linear(2, 2))
        for last in (False, True):
            with gathering(wrapped, last=last):
                assert wrapped.require_backward_grad_sync is last
        assert wrapped.require_backward_grad_sync
    finally:
        distributed.destroy_process_group()


def test_a_parameter_that_the_forward_leaves_out_is_told_of() -> None:
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        model = nn.Linear(2, 2)
        model.left_out = nn.Parameter(torch.ones(1))
        wrapped = DistributedDataParallel(model)
        wrapped(torch.ones(1, 2)).sum().backward()
        with (
            pytest.raises(NetmorphError, match=r"no gradient in a training step.*requires_grad_"),
            advice(Recipe(), "in epoch 1"),
        ):
            wrapped(torch.ones(1, 2))
    finally:
        distributed.destroy_process_group()


def test_each_process_gets_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert own_device("cpu", World(1, 2, 1, 2)) == "cpu"
    assert own_device("cuda", World(3, 4, 1, 2)) == "cuda:1"
    with pytest.raises(
        NetmorphError, match="more processes than the 2 GPUs of this machine; torchrun --nproc-per-node 2"
    ):
        own_device("cuda", World(2, 3, 2, 3))
    with pytest.raises(
        NetmorphError, match="2 processes train on 'cpu', or on 'cuda' with a GPU for each; 'cuda:1' was"
    ):
        own_device("cuda:1", World(0, 2, 0, 2))
