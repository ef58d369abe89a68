import pytest
import torch

from netmorph.data import Columns, Pixels


def test_a_constant_channel_has_std_one():
    pixels = Pixels.measured(torch.full((4, 1, 2, 2), 51, dtype=torch.uint8))
    assert pixels.mean == pytest.approx((0.2,))
    assert pixels.std == (1.0,)


@pytest.mark.parametrize("shape", [(50, 3), (50, 3, 4), (50, 3, 4, 5)])
def test_columns_are_measured_by_feature_or_channel(shape):
    rows = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 5 + 2
    columns = Columns.measured(rows)
    assert (len(columns.mean), len(columns.std)) == (3, 3)
    prepared = columns(rows, torch.empty(0))
    others = [axis for axis in range(len(shape)) if axis != 1]
    torch.testing.assert_close(prepared.mean(others), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(prepared.std(others, correction=0), torch.ones(3))
    assert columns(rows, torch.empty(0, dtype=torch.float64)).dtype == torch.float64


def test_what_never_changes_has_std_one():
    rows = torch.full((7, 1), 0.1)  # of which seven do not sum to 0.7
    assert Columns.measured(rows).std == (1.0,)
    assert Columns.measured(rows)(rows, rows).abs().max() < 1e-6
