"""The live page as a browser sees it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from netmorph.live.server import HTML, Answer, Server
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
