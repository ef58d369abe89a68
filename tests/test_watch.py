import io

from rich.console import Console

from netmorph.train.history import Epoch
from netmorph.watch import EpochProgress


def test_a_line_for_each_epoch():
    output = io.StringIO()
    with EpochProgress(10, Console(file=output, width=120)) as progress:
        progress(Epoch(1, 0.5, 0.75, 0.25, 0.875, 0.1, 1.25))
    first = output.getvalue().splitlines()[0]
    assert first.startswith("epoch  1")
    assert "validation loss 0.2500, accuracy 87.50%" in first
    assert "1/10" in output.getvalue()
