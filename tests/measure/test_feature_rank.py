"""The ranks of features on a probe batch."""

import math

import pytest
import torch
from torch import nn

from netmorph.measure.feature_rank import feature_spectra
from netmorph.measure.spectrum import SpectrumError


def test_it_is_the_rank_of_all_positions_together() -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(96, 5))
    batches = [torch.randn(4, 3, 6, 6) for _ in range(3)]
    found = feature_spectra(model, batches)
    with torch.no_grad():
        features = model[0](torch.cat(batches)).movedim(1, -1).flatten(0, -2).double()
    torch.testing.assert_close(found["0"].values, torch.linalg.svdvals(features), rtol=1e-6, atol=1e-5)
    assert (found["0"].rows, found["0"].columns) == (192, 6)
    assert set(found) == {"0", "3"}
    assert len(feature_spectra(model, batches[:1])["3"].values) == 4  # no more than samples


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_bottleneck_bounds_the_rank_behind_it(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Linear(8, 2, bias=False), nn.Linear(2, 16, bias=False)).to(dtype)
    assert feature_spectra(model, [torch.randn(50, 8, dtype=dtype)])["1"].rank() == 2


def test_tokens() -> None:
    model = nn.Sequential(nn.Embedding(11, 4), nn.Linear(4, 7))
    assert feature_spectra(model, [torch.randint(11, (3, 9))])["0"].rows == 27


def test_a_layer_that_the_forward_leaves_out_has_no_spectrum() -> None:
    model = nn.Sequential(nn.Linear(3, 4))
    model[0].spare = nn.Linear(3, 4)
    assert set(feature_spectra(model, [torch.randn(5, 3)])) == {"0"}


def test_the_model_is_left_alone() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    feature_spectra(model, [torch.randn(2, 1, 5, 5)])
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model[0]._forward_hooks


def test_what_has_no_features() -> None:
    with pytest.raises(SpectrumError, match="no features were seen: the probe data holds no batch"):
        feature_spectra(nn.Linear(2, 2), [])
    with pytest.raises(SpectrumError, match=r"a list of batches, not one tensor \(3, 2\): pass \[x\]"):
        feature_spectra(nn.Linear(2, 2), torch.ones(3, 2))
    model = nn.Linear(2, 2)
    nn.init.constant_(model.weight, math.nan)
    with pytest.raises(SpectrumError, match="is NaN or infinite: it has no rank"):
        feature_spectra(model, [torch.ones(1, 2)])


def test_constant_data_has_one_direction() -> None:
    assert feature_spectra(nn.Linear(3, 4), [torch.ones(9, 3)])[""].rank() == 1
