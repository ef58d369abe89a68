"""What chapters come to: sentences follow from the numbers, also where a thing did not pay."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from netmorph import demo, trace, zoo
from netmorph.shrink import Round, Shrunk
from tests.report.synthetic import write_run

GROWN = demo.Course("one block, then two", (1.0, 2.0, 4.0), (2.5, 2.0, 1.6), (1, 1, 2))
EQUAL = demo.Course("two blocks, as many FLOPs", (2.0, 4.0), (2.4, 1.9), (2, 2))
FULL = demo.Course("two blocks", (2.0, 4.0, 6.0), (2.4, 1.9, 1.5), (2, 2, 2))
SMALL = demo.Course("one block", (1.0, 2.0, 3.0), (2.5, 2.0, 1.8), (1, 1, 1))


def test_growth_that_pays_is_told_with_what_the_full_size_needs() -> None:
    finding = demo.growth(GROWN, EQUAL, FULL, SMALL, "netmorph train")

    assert finding.verdict.startswith("Growing pays here: ")
    assert "a loss of 1.60, its full size from the start to 1.90" in finding.verdict
    assert "is as far after 1.5 times as many FLOPs, and ends at 1.50" in finding.text
    assert [row[0] for row in finding.table.rows] == [one.name for one in (FULL, GROWN, SMALL, EQUAL)]
    assert finding.table.rows[1][-1] == "67%"


def test_growth_that_does_not_pay_is_told_likewise() -> None:
    finding = demo.growth(replace(GROWN, losses=(2.5, 2.2, 2.1)), EQUAL, FULL, SMALL, "netmorph train")
    assert finding.verdict.startswith("Growing does not pay here: ")
    assert "One block, to the end, comes to 1.80: it still learns, so it had no need to grow" in finding.text

    never = demo.growth(GROWN, EQUAL, replace(FULL, losses=(2.4, 1.9, 1.7)), SMALL, "netmorph train")
    assert "the full size does not come so far, and ends at 1.70" in never.text


def shrunk() -> Shrunk:
    graph = trace(zoo.build("mlp", (4,), 3, hidden=(8,)), torch.randn(2, 4))
    told = {"loss": 0.5, "accuracy": 0.9}
    spent = {"parameters": 67, "flops": 100, "training_flops": 1000, "seconds": 1.0}
    judged = {"untrained": told, "numbers": told, "score": 0.9, "epochs": ()}
    first = Round(0, True, {"fc1": 8}, {}, **spent, **judged)
    return Shrunk(graph, graph, [first, replace(first, number=1, ranks={"fc1": 4.0})], "ranks and widths agree")


@pytest.mark.parametrize(("accuracy", "said"), [(0.955, "Shrinking pays here"), (0.9, "Shrinking does not pay here")])
def test_shrinking_is_worth_what_it_keeps(accuracy: float, said: str) -> None:
    wide, narrow = demo.Measured(1000, 0.96), demo.Measured(100, accuracy)
    finding = demo.shrinking(wide, narrow, replace(narrow, accuracy=0.94), shrunk(), 200, "netmorph shrink mlp")

    assert finding.verdict.startswith(f"{said}: with 10.0 times fewer parameters")
    assert "knows 94.00%" in finding.text
    assert "one of the 200 test images is 0.50%" in finding.text


def test_a_network_that_did_not_shrink_is_no_success() -> None:
    wide = demo.Measured(1000, 0.96)
    assert "does not pay" in demo.shrinking(wide, wide, wide, shrunk(), 200, "netmorph shrink mlp").verdict


def test_all_of_it_is_one_page_that_asks_nothing_of_other_hosts(tmp_path: Path) -> None:
    evolved = demo.evolution(write_run(tmp_path / "evolution/run"), "netmorph evolve")
    told = {
        "growth": [demo.growth(GROWN, EQUAL, FULL, SMALL, "netmorph train --grow 'at 50%'")],
        "evolution": [replace(evolved, places=["run/report.html"])],
    }

    page = demo.write_page(tmp_path, told, "netmorph demo growth evolution", 75).read_text()

    assert "Made by netmorph demo growth evolution in 1 min 15 s" in page
    assert page.count('class="lead"') == 2
    assert page.count("<svg ") == 3
    assert 'href="evolution/run/report.html"' in page
    assert "netmorph train --grow &#39;at 50%&#39;" in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_findings_of_a_script_are_those_it_has_names_for(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        '"""A title\n\nText.\n"""\n\n# %% It comes to this.\nfrom netmorph import demo\n'
        'from netmorph.report.plain_page import Table\n\ntable = Table("", (), ())\n'
        'finding = demo.Finding("a", "b", "c", "d", table)\n'
    )

    (found,) = demo.tell(demo.read(tmp_path / "own.py"), tmp_path / "tour", Console(quiet=True))

    assert found.verdict == "c"
