"""The benchmark of the driver runs an evolution without training, and counts what was made."""

import pytest

from benchmarks import driver


def test_it_tells_the_time_of_a_network(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(driver, "RECORDED", (20, 40))
    monkeypatch.setattr(driver, "ROUNDS", 2)
    driver.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["recorded", "20", "40"]
    assert all(float(line.split()[1]) > 0 for line in lines[1:])
