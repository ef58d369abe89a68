"""Heads in closed form, beside NumPy's least squares and scikit-learn; penalties beside leaving out one by one."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import Tensor

from netmorph.solve import (
    Moments,
    SolveError,
    as_linear,
    choose_penalty,
    generalized,
    held_out,
    leave_one_out,
    one_hot,
    ridge,
    squared,
    squared_error,
    wrong,
)


def samples(count: int = 80, features: int = 6, targets: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, features, generator=generator, dtype=torch.float64) * torch.arange(1, features + 1) + 3
    y = x @ torch.randn(features, targets, generator=generator, dtype=torch.float64) - 5
    return x, y + torch.randn(count, targets, generator=generator, dtype=torch.float64)


def test_without_a_penalty_it_is_least_squares() -> None:
    x, y = samples()
    head = ridge(Moments.of(zip(x.split(9), y.split(9), strict=True)), 0)
    expected, *_ = np.linalg.lstsq(np.c_[x.numpy(), np.ones(len(x))], y.numpy(), rcond=None)
    np.testing.assert_allclose(head.weight.T.numpy(), expected[:-1], rtol=0, atol=1e-9)
    np.testing.assert_allclose(head.bias.numpy(), expected[-1], rtol=0, atol=1e-9)


@pytest.mark.parametrize("penalty", [1e-3, 1.0, 1e4])
def test_with_one_it_is_ridge_regression(penalty: float) -> None:
    x, y = samples()
    moments = Moments.of([(x, y)])
    head = ridge(moments, penalty)
    expected = Ridge(alpha=penalty).fit(x.numpy(), y.numpy())
    np.testing.assert_allclose(head.weight.numpy(), expected.coef_, rtol=0, atol=1e-9)
    np.testing.assert_allclose(head.bias.numpy(), expected.intercept_, rtol=0, atol=1e-9)
    others = samples(30, seed=1)
    assert squared_error(Moments.of([others]), head) == pytest.approx(float(squared(head(others[0]), others[1]).mean()))


def test_a_layer_answers_as_the_head() -> None:
    x, y = samples()
    head = ridge(Moments.of([(x, y)]), 1.0)
    assert torch.allclose(as_linear(head, torch.float64)(x), head(x))
    assert as_linear(head).weight.dtype == torch.float32
    assert as_linear(head).weight.requires_grad


def test_leaving_one_out_is_what_solving_without_it_gives() -> None:
    x, y = samples(25)
    moments = Moments.of([(x, y)])
    for penalty, error in leave_one_out(moments, [(x[:10], y[:10]), (x[10:], y[10:])]).items():
        answers = []
        for sample in range(len(x)):
            rest = torch.arange(len(x)) != sample
            answers.append(ridge(Moments.of([(x[rest], y[rest])]), penalty)(x[sample]))
        assert error == pytest.approx(float(squared(torch.stack(answers), y).mean()), rel=1e-9)


def test_classes_left_out() -> None:
    x, _ = samples(40)
    targets = one_hot((x[:, 0] > 3).long(), 2)
    moments = Moments.of([(x, targets)])
    penalty, error = next(iter(leave_one_out(moments, [(x, targets)], [5.0], cost=wrong).items()))
    mistakes = 0
    for sample in range(len(x)):
        rest = torch.arange(len(x)) != sample
        head = ridge(Moments.of([(x[rest], targets[rest])]), penalty)
        mistakes += int(head(x[sample]).argmax() != targets[sample].argmax())
    assert error == pytest.approx(mistakes / len(x))


def test_held_out_samples_judge_heads_solved_without_them() -> None:
    x, y = samples()
    held = Moments.of([(x[60:], y[60:])])
    for penalty, error in held_out(Moments.of([(x, y)]), held, [1e-2, 1.0, 100.0]).items():
        head = ridge(Moments.of([(x[:60], y[:60])]), penalty)
        assert error == pytest.approx(float(squared(head(x[60:]), y[60:]).mean()))


def test_where_all_samples_have_one_leverage_the_estimate_is_exact() -> None:
    x = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
    y = torch.tensor([[1.0], [2], [0], [5]], dtype=torch.float64)
    moments = Moments.of([(x, y)])
    exact, estimate = leave_one_out(moments, [(x, y)]), generalized(moments)
    assert list(estimate) == list(exact)
    assert list(estimate.values()) == pytest.approx(list(exact.values()))


def test_noise_asks_for_a_larger_penalty_than_a_clear_answer() -> None:
    x, clear = samples(30, 25)
    noise = torch.randn(30, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    chosen = [choose_penalty(Moments.of([(x, y)]), [(x, y)]) for y in (clear, noise)]
    assert chosen[0] < chosen[1]
    assert choose_penalty(Moments.of([(x, clear)])) < choose_penalty(Moments.of([(x, noise)]))


def test_singular_moments_are_told_with_a_penalty_that_helps() -> None:
    x, y = samples()
    x = torch.cat([x, x[:, :1]], 1)
    moments = Moments.of([(x, y)])
    with pytest.raises(SolveError, match="the 7 features follow from one another on these 80 samples") as told:
        ridge(moments, 0)
    floor = 1e-9 * moments.scale
    assert f"take {floor:.3g}" in str(told.value)
    assert ridge(moments, floor).weight.isfinite().all()
    few = Moments.of([(x[:4], y[:4])])
    assert ridge(few, choose_penalty(few, [(x[:4], y[:4])])).weight.isfinite().all()


def test_what_cannot_be_solved() -> None:
    x, y = samples()
    with pytest.raises(SolveError, match="2 samples or more; these moments are of 0"):
        ridge(Moments.nothing(3, 1), 1)
    with pytest.raises(SolveError, match="a penalty is a number from 0, got -1"):
        ridge(Moments.of([(x, y)]), -1)
    with pytest.raises(SolveError, match="NaN or infinite on some samples"):
        ridge(Moments.of([(x / 0, y)]), 1)
    with pytest.raises(SolveError, match="the same for all 80 samples"):
        ridge(Moments.of([(x * 0, y)]), 1)
    with pytest.raises(SolveError, match="all 80 of them; the batches hold 10 "):
        leave_one_out(Moments.of([(x, y)]), [(x[:10], y[:10])])
    with pytest.raises(SolveError, match="numbers above 0, got \\[0\\]"):
        choose_penalty(Moments.of([(x, y)]), penalties=[0])
