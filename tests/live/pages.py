"""The live page as a browser sees it, and runs to look at."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from threading import Thread
from typing import Any

from netmorph.live.server import HTML, Answer, Server
from netmorph.run.records import Records
from netmorph.run.rows import EditRecord, NetworkRecord
from tests.browser import framed

WAIT = 2500  # ms in which the page asks, draws, and asks again


class Framed(Server):
    """Serves the page of a run, and a page around it at /frame-WIDTH."""

    def answer(self, target: str) -> Answer | None:
        if target.startswith("/frame-"):
            width = int(target.removeprefix("/frame-"))
            return Answer(
                framed('src="/"', width, WAIT).encode(), HTML, policy="default-src 'self' 'unsafe-inline' data:"
            )
        return super().answer(target)


@contextmanager
def framing(folder: Path) -> Iterator[str]:
    """A `Framed` server beside what happens inside; its address."""
    with Framed(folder) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server.url
        finally:
            server.shutdown()
            thread.join()


EDIT = EditRecord("widen r2r", "features.0", 8, 12, 0.2, 1e-7, 0.0)


def write_large(folder: Path, count: int, meta: dict[str, Any] | None = None) -> Path:
    """A run that goes on: six networks in a round, children of four of the round before; every 50th failed."""
    with Records.create(folder) as records, records.transaction():
        for id in range(1, count + 1):
            records.put_network(large_network(id, count))
        records.set_survivors("evolve", [id for id in range(count - 20, count - 10) if id % 50][:4])
        told = {"title": "lenet5 on digits", "status": "running", "round": count // 6, "seconds": 3600.0}
        for key, value in (told | {"config": {"budget": {"seconds": 7200}}} | (meta or {})).items():
            records.set_meta(key, value)
    return folder


def large_network(id: int, count: int) -> NetworkRecord:
    """The last six are planned."""
    rise, noise = 0.09 * (1 - 1 / (1 + id / 300)), 0.03 * (id * 0.618 % 1)
    parent = 6 * ((id - 1) // 6) - Random(id).randrange(4)
    network = NetworkRecord(
        id=id,
        arm="evolve",
        round=(id - 1) // 6,
        parent=None if id <= 6 else parent - (parent % 50 == 0),
        seed=id,
        state="trained",
        parameters=3000 + id,
        flops=int(90_000 * (1 + id / 500) * (1 + id * 0.618 % 1)),
        training_flops=10**9 + id * 10**6,
        seconds=2.0,
        score=0.88 + rise - noise,
        numbers={"loss": 0.3, "accuracy": 0.88 + rise - noise},
        survivor=False,
        edits=(EDIT,) if id > 6 else (),
        failure=None,
    )
    if id > count - 6:
        return replace(network, state="planned", score=None, numbers={}, seconds=0.0)
    if id % 50 == 0:
        return replace(network, state="failed", score=None, numbers={}, failure=f"it ran out of memory ({id % 3})")
    return network
