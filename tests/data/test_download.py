import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from written import write_idx

from netmorph import data
from netmorph.data import DataError, named
from netmorph.data.download import Archive, fetch_missing

CONTENT = b"published" * 1000
MD5 = hashlib.md5(CONTENT).hexdigest()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def site(tmp_path):
    """A folder served on the loopback interface, and its address."""
    folder = tmp_path / "site"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


def test_fetches_what_is_missing_and_nothing_else(site, tmp_path):
    folder, url = site
    (folder / "a").write_bytes(CONTENT)
    target = tmp_path / "target"
    target.mkdir()
    (target / "b").write_bytes(b"already here")
    fetch_missing(Archive(url, {"a": MD5, "b": "not asked for"}), target)
    assert (target / "a").read_bytes() == CONTENT
    assert (target / "b").read_bytes() == b"already here"


def test_a_wrong_checksum_leaves_nothing_behind(site, tmp_path):
    folder, url = site
    (folder / "a").write_bytes(CONTENT + b"!")
    with pytest.raises(DataError, match=f"expected {MD5}"):
        fetch_missing(Archive(url, {"a": MD5}), tmp_path / "target")
    assert list((tmp_path / "target").iterdir()) == []


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """`kmnist` published as files of this machine; no data folder set, an empty cache."""
    folder = tmp_path / "mirror"
    write_idx(folder)
    files = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    monkeypatch.setitem(named.ARCHIVES, "kmnist", Archive(folder.as_uri() + "/", files))
    monkeypatch.delenv("NETMORPH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def test_a_named_set_is_downloaded_once(mirror, tmp_path):
    first = data.load("kmnist")
    for path in mirror.iterdir():
        path.unlink()
    again = data.load("kmnist", cache=tmp_path / "other cache")
    assert first.name == "kmnist"
    assert first.fingerprint == again.fingerprint


def test_an_interrupted_download_goes_on(mirror, tmp_path):
    data.load("kmnist")
    folder = tmp_path / "cache" / "netmorph" / "kmnist"
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    assert len(data.load("kmnist").test) == 10


def test_offline_says_where_to_put_the_files(mirror, tmp_path):
    for path in mirror.iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"could not download.*put .*train-images.*netmorph/kmnist.*NETMORPH_DATA"):
        data.load("kmnist")


def test_the_named_folder_comes_first(mirror, tmp_path, monkeypatch):
    monkeypatch.setenv("NETMORPH_DATA", str(tmp_path / "own"))
    write_idx(tmp_path / "own" / "kmnist", count=20)
    dataset = data.load("kmnist")
    assert len(dataset.train) + len(dataset.validation) == 20
