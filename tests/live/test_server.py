"""The live page's server: reads only, answers this machine only, says what is wrong."""

import json
import shutil
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from benchmarks import store
from netmorph.live import ServerError, serving
from netmorph.live.server import SCRIPTS
from netmorph.run.database import RecordsError

Ask = Callable[..., tuple[HTTPResponse, bytes]]


@pytest.fixture(scope="module", name="run")
def run_(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return store.write(tmp_path_factory.mktemp("live") / "run", 30)


@pytest.fixture(scope="module", name="address")
def address_(run: Path) -> Iterator[str]:
    with serving(run) as server:
        assert not server.is_open
        yield urlsplit(server.url).netloc


@pytest.fixture(name="ask")
def ask_(address: str) -> Iterator[Ask]:
    connection = HTTPConnection(address, timeout=10)

    def ask(path: str, method: str = "GET", **headers: str) -> tuple[HTTPResponse, bytes]:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer, answer.read()

    yield ask
    connection.close()


def test_it_answers_the_page_its_scripts_and_the_run(ask: Ask) -> None:
    answer, page = ask("/")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b"prefers-color-scheme: dark" in page  # the style of the report
    assert b"https:" not in page
    for script in SCRIPTS:
        answer, text = ask(f"/{script}")
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/javascript; charset=utf-8")
        assert text.startswith(b"//")
    assert len(json.loads(ask("/run.json")[1])["networks"]["id"]) == 30
    answer, text = ask("/run.json?from=29")
    assert json.loads(text)["networks"]["id"] == [29, 30]
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert json.loads(ask("/network.json?id=7")[1])["id"] == 7


def test_the_report_is_shown_once_it_is_there(ask: Ask, run: Path) -> None:
    assert ask("/report.html")[0].status == 404
    (run / "report.html").write_text("<p>a report")
    assert ask("/report.html")[1] == b"<p>a report"
    (run / "report.html").unlink()


@pytest.mark.parametrize(
    "path",
    ["/run.sqlite", "/../run.sqlite", "/page.html", "/network.json?id=99", "/network.json?id=x", "/run.json?from=-1"],
)
def test_nothing_else_is_there(ask: Ask, path: str) -> None:
    answer, text = ask(path)
    assert (answer.status, json.loads(text)) == (404, {"error": "there is no such page"})


def test_it_is_asked_for_by_its_own_name_only(ask: Ask, address: str) -> None:
    port = address.rpartition(":")[2]
    assert ask("/run.json", Host=f"localhost:{port}")[0].status == 200
    for name in (f"elsewhere.example:{port}", "127.0.0.1", "localhost:1"):
        assert ask("/run.json", Host=name)[0].status == 403


def test_it_only_reads(ask: Ask) -> None:
    assert ask("/run.json", "POST")[0].status == 501


def test_a_run_that_is_taken_away_is_told(tmp_path: Path) -> None:
    with serving(store.write(tmp_path / "run", 30)) as server:
        shutil.rmtree(tmp_path / "run")
        connection = HTTPConnection(urlsplit(server.url).netloc, timeout=10)
        connection.request("GET", "/run.json")
        answer = connection.getresponse()
        assert (answer.status, "no run in" in json.loads(answer.read())["error"]) == (503, True)
        connection.close()


def test_what_cannot_be_served_is_told(tmp_path: Path, run: Path, address: str) -> None:
    port = int(address.rpartition(":")[2])
    with pytest.raises(RecordsError, match="no run in"), serving(tmp_path):
        pass
    with (
        pytest.raises(ServerError, match=rf"port {port}: .*already in use.*0 takes"),
        serving(run, port=port),
    ):
        pass
    with pytest.raises(ServerError, match="on not-a-host, port 0"), serving(run, "not-a-host"):
        pass
