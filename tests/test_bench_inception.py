"""The benchmark of surgery on Inception-ResNet-v2, made small."""

import re

import pytest

from benchmarks.inception import main


@pytest.mark.slow
def test_exact_steps_keep_the_answers(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--pixels", "75", "--width", "0.05", "--blocks", "1", "1", "2"])
    told = capsys.readouterr().out
    assert "groups are free" in told
    changes = [float(cell) for cell in re.findall(r"│ (\d+e[-+]\d+) +│", told)]
    assert len(changes) == 4
    assert max(changes) <= 1e-10
