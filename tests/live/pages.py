"""The live page as a browser sees it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from netmorph.live.server import HTML, Answer, Server
from tests.browser import framed

SHOWN = "html[data-shown]"  # the page says how often it has shown what the server told


class Framed(Server):
    """Serves the page of a run, and a page around it at /frame-WIDTH, which looks at it once it is `until`."""

    until = SHOWN

    def answer(self, target: str) -> Answer | None:
        if target.startswith("/frame-"):
            width = int(target.removeprefix("/frame-"))
            return Answer(
                framed('src="/"', width, 0, self.until).encode(),
                HTML,
                policy="default-src 'self' 'unsafe-inline' data:",
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
