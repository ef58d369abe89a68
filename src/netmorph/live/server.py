"""A small server that shows a run to a browser: a page, its scripts, and what its records say. It only reads."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import socket
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from netmorph import report
from netmorph.errors import NetmorphError
from netmorph.live.snapshot import network, snapshot
from netmorph.run.records import Records

LOOPBACK, HTTP_PORT = "127.0.0.1", 80
SCRIPTS = ("page.js", "pictures.js", "charts.js", "run.js", "tree.js")
HTML, SCRIPT, JSON = "text/html; charset=utf-8", "text/javascript; charset=utf-8", "application/json"
# The page asks nothing but this server, and a text from a run that slipped into it could do nothing.
POLICY = "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:"


class ServerError(NetmorphError):
    """The page of a run cannot be served."""


class Answer(NamedTuple):
    """What goes back to a browser."""

    body: bytes
    kind: str = JSON
    status: HTTPStatus = HTTPStatus.OK
    policy: str = POLICY


class Server(ThreadingHTTPServer):
    """Serves one run.

    Args:
        folder: the run's folder.
        host: a name or an address of this machine.
        port: 0 takes a free one.

    Raises:
        RecordsError: there is no run.
        ServerError: the port is in use, or the host is none of this machine's.
    """

    daemon_threads = True
    block_on_close = False  # a browser may keep its connection open for long

    def __init__(self, folder: Path, host: str = LOOPBACK, port: int = 0) -> None:
        with Records.open(folder):  # that there is a run, before anybody is told where to look
            pass
        self.folder, self.host = folder, host
        try:
            super().__init__((host, port), Handler)
        except (OSError, OverflowError) as error:
            raise ServerError(
                f"cannot serve the page on {host}, port {port}: {error}; choose another port (0 takes a free one), or "
                "another host"
            ) from error

    @property
    def url(self) -> str:
        """Where the page is, as a browser takes it: 0.0.0.0 is all of this machine's addresses, and none."""
        host = socket.gethostname() if _address(self).is_unspecified else self.host
        return f"http://{host}:{self.server_port}/"

    @property
    def is_open(self) -> bool:
        """Whether other machines may reach it; nothing asks who is there."""
        return not _address(self).is_loopback

    def welcomes(self, told: str | None) -> bool:
        """Whether a request's Host header names this server.

        On loopback nothing else is answered: another site's page could else have its own name resolved to this machine
        (DNS rebinding), and read the run through the user's browser.
        """
        if self.is_open:
            return True
        names = {LOOPBACK, "localhost", self.host.lower()}
        usual = names if self.server_port == HTTP_PORT else set()  # which browsers leave out
        return (told or "").lower() in usual | {f"{name}:{self.server_port}" for name in names}

    def answer(self, target: str) -> Answer | None:
        """What is at a path with its query; None if nothing is.

        Raises:
            RecordsError: the records cannot be read.
        """
        parts = urlsplit(target)
        where, asked = parts.path, parse_qs(parts.query)
        if where == "/":
            return Answer(_page(), HTML)
        if where[1:] in SCRIPTS:
            return Answer(_own(where[1:]).encode(), SCRIPT)
        if where == "/report.html":
            return self._report()
        if where not in ("/run.json", "/network.json"):
            return None
        number = asked.get("from" if where == "/run.json" else "id", ["0"])[0]
        if not number.isascii() or not number.isdecimal() or len(number) > 18:
            return None
        with Records.open(self.folder) as records:
            told = snapshot(records, int(number)) if where == "/run.json" else network(records, int(number))
        return None if told is None else _told(told)

    def _report(self) -> Answer | None:
        """The run's report, which has its own style and nothing from elsewhere."""
        try:
            text = (self.folder / "report.html").read_bytes()
        except OSError:
            return None
        return Answer(text, HTML, policy="default-src 'none'; style-src 'unsafe-inline'; img-src data:")


class Handler(BaseHTTPRequestHandler):
    """One connection of a browser."""

    protocol_version = "HTTP/1.1"
    server: Server
    timeout = 60

    def do_GET(self) -> None:
        """Answer a request; anything but GET is refused by what this class inherits."""
        if not self.server.welcomes(self.headers.get("Host")):
            self._send(_failure("this page is only for the machine that it runs on", HTTPStatus.FORBIDDEN))
            return
        try:
            answer = self.server.answer(self.path)
        except (NetmorphError, ValueError) as error:  # ValueError: a number that has no place in JSON
            answer = _failure(str(error), HTTPStatus.SERVICE_UNAVAILABLE)
        self._send(answer or _failure("there is no such page", HTTPStatus.NOT_FOUND))

    def log_message(self, format: str, *values: object) -> None:
        """Nothing: a page asks every other second, and the terminal is the user's."""

    def _send(self, answer: Answer) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError):  # the browser has left
            self.send_response(answer.status)
            for name, value in (
                ("Content-Type", answer.kind),
                ("Content-Length", str(len(answer.body))),
                ("Content-Security-Policy", answer.policy),
                ("X-Content-Type-Options", "nosniff"),
                ("Referrer-Policy", "no-referrer"),
                ("Cache-Control", "no-store"),
            ):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)


@contextlib.contextmanager
def serving(folder: Path, host: str = LOOPBACK, port: int = 0) -> Iterator[Server]:
    """Serve the page of a run beside what happens inside; gives the server, which tells its address.

    Raises:
        RecordsError: there is no run.
        ServerError: see `Server`.
    """
    with Server(folder, host, port) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def _told(told: object) -> Answer:
    # What is no finite number has no place in JSON, and a page that was sent one would show nothing at all.
    return Answer(json.dumps(told, allow_nan=False, separators=(",", ":")).encode())


def _failure(text: str, status: HTTPStatus) -> Answer:
    return _told({"error": text})._replace(status=status)


def _page() -> bytes:
    """The page, in the style of a run's report."""
    style = resources.files(report).joinpath("style.html").read_text("utf-8")
    return _own("page.html").replace("<!-- style -->", style).encode()


def _own(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def _address(server: Server) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(str(server.server_address[0]))
