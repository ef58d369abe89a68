from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from netmorph import apply, trace, zoo
from netmorph.edit import copy_block
from netmorph.measure.cost import cost
from netmorph.run.names import Stage
from netmorph.search.births import Birth, Born, redraw
from netmorph.search.jobs import Training, Worker
from netmorph.train.inputs import examples
from tests.search.started import DATA, START, outputs, started
from tests.train.tiny import CONFIG


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return started(tmp_path)


def test_a_child_computes_what_its_parent_does(worker: Worker) -> None:
    before = outputs(worker, 1)
    for seed in range(6):
        born = worker(Birth(2, 1, seed))
        assert isinstance(born, Born)
        assert 1 <= len(born.edits) <= CONFIG.mutation.edits
        torch.testing.assert_close(outputs(worker, 2, Stage.BORN), before, rtol=1e-4, atol=1e-5)
        for edit in born.edits:
            assert abs(edit.jump) <= 1 / len(worker.dataset.validation)  # a tie may fall to the other side
            assert 0 <= edit.error < 1e-5
            assert 0 < edit.share_new <= CONFIG.mutation.locality
            assert edit.after > edit.before
            assert edit.kind.split()[0] in ("widen", "deepen")
        model = worker.store.take(2, Stage.BORN)[0]
        assert born.cost == cost(model, examples(worker.dataset, model, 2))
        assert born.cost.parameters > worker(START).cost.parameters


def test_a_child_goes_on_with_its_parents_optimizer(worker: Worker) -> None:
    worker(Birth(2, 1, 3))
    model, _, optimizer = worker.store.take(2, Stage.BORN)
    moments = [optimizer.state[p].get("exp_avg") for p in model.parameters()]
    inherited = [m for m in moments if m is not None and m.abs().sum() > 0]
    assert len(inherited) >= len(list(worker.store.take(1)[0].parameters()))
    assert all(m.shape == p.shape for m, p in zip(moments, model.parameters(), strict=True) if m is not None)


@pytest.mark.parametrize("job", [Birth(2, 1, 5), Birth(2, None, 5, 3, inherit=False)])
def test_the_same_birth_makes_the_same_network(worker: Worker, job: Birth) -> None:
    first, path = worker(job), worker.store.path(2, Stage.BORN)
    content = path.read_bytes()
    assert worker(job) == first
    assert path.read_bytes() == content
    worker(replace(job, seed=6))
    assert path.read_bytes() != content


def test_a_walk_of_many_generations_stays_within_the_cap(tmp_path: Path) -> None:
    start = Worker(tmp_path, CONFIG, DATA)(START).cost.flops
    config = replace(CONFIG, max_flops=1.5 * start)
    born = Worker(tmp_path, config, DATA)(Birth(2, None, 5, 12, inherit=False))
    assert isinstance(born, Born)
    assert len(born.edits) >= 3  # a walk that left the cap once would be a copy of the start network
    assert start < born.cost.flops <= config.max_flops


def test_random_networks_begin_anew(worker: Worker) -> None:
    born = worker(Birth(2, None, 5, 3, inherit=False))
    assert len(born.edits) >= 3  # at least one in each generation
    assert all(edit.jump == 0 for edit in born.edits)
    model, journal, optimizer = worker.store.take(2, Stage.BORN)
    assert len(journal) == len(born.edits)
    assert not optimizer.state
    start = dict(worker.store.take(1, Stage.BORN)[0].named_parameters())
    assert not any(torch.equal(p, start[name]) for name, p in model.named_parameters() if name in start)


def test_a_fresh_child_has_its_parents_structure_and_learns_anew(worker: Worker) -> None:
    inherited, fresh = worker(Birth(2, 1, 5)), worker(Birth(3, 1, 5, inherit=False))
    assert [replace(edit, error=0.0, jump=0.0) for edit in fresh.edits] == [
        replace(edit, error=0.0, jump=0.0) for edit in inherited.edits
    ]
    parent, child = (dict(worker.store.take(*place)[0].named_parameters()) for place in ((1,), (3, Stage.BORN)))
    assert not any(torch.equal(p, parent[name]) for name, p in child.items() if name in parent)
    grandchild = worker(Birth(4, 3, 6, inherit=False)) if worker(Training(3, 1, 1)) else None
    assert grandchild is not None
    assert len(worker.store.take(4, Stage.BORN)[1]) == len(fresh.edits) + len(grandchild.edits)


def test_no_child_exceeds_the_cap(tmp_path: Path) -> None:
    start = Worker(tmp_path, CONFIG, DATA)(START).cost
    cap = 1.2 * start.flops
    worker = Worker(tmp_path, replace(CONFIG, max_flops=cap), DATA)
    worker(Training(1, 12, 1))
    grown = [worker(Birth(2, 1, seed)) for seed in range(8)]
    assert all(born.cost.flops <= cap for born in grown)
    assert any(born.cost.flops > start.flops for born in grown)

    copy = Worker(tmp_path, replace(CONFIG, max_flops=start.flops), DATA)(Birth(2, 1, 0))
    assert copy == Born(start, ())
    torch.testing.assert_close(outputs(worker, 2, Stage.BORN), outputs(worker, 1), rtol=0, atol=0)


def test_redraw_draws_what_edits_changed_and_leaves_the_rest_alone() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Linear(3, 2), nn.BatchNorm1d(2))
    old = list(model.parameters())
    model[1], model[2] = nn.Linear(3, 5), nn.BatchNorm1d(5)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.fill_(7.0)
        model[2].running_mean.fill_(3.0)
    state = torch.get_rng_state()
    redraw(model, old, 1)
    first = [p.clone() for p in model.parameters()]
    assert torch.equal(state, torch.get_rng_state())
    assert all((p == 7).all() for p in model[0].parameters())
    assert not any((p == 7).any() for p in (*model[1].parameters(), *model[2].parameters()))
    assert (model[2].running_mean == 0).all()
    redraw(model, old, 1)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), first, strict=True))
    redraw(model, old, 2)
    assert not torch.equal(model[1].weight, first[2])


def test_redraw_goes_by_parameters_where_entries_of_a_list_move() -> None:
    model = zoo.build("gpt", (16,), 32, channels=16, heads=2, depth=3)
    first, *behind = model.blocks
    old = [*model.parameters()]
    kept = [p.detach().clone() for block in (first, *behind) for p in block.parameters()]
    graph = trace(model, torch.arange(32).reshape(2, 16))
    apply(graph, copy_block(graph, "blocks.0"))
    redraw(model, old, 1)
    copied = model.blocks[1]
    assert list(model.blocks) == [first, copied, *behind]
    assert copied.fc2.weight.count_nonzero() > 0
    assert copied.attention.out.weight.count_nonzero() > 0
    assert not torch.equal(copied.fc1.weight, first.fc1.weight)
    now = [p for block in (first, *behind) for p in block.parameters()]
    assert all(torch.equal(p, q) for p, q in zip(now, kept, strict=True))
