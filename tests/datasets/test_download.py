"""Against a real HTTP server on this machine."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tiny_idx import make_tiny

from hpo.datasets.download import download
from hpo.datasets.idx import _FILES
from hpo.errors import DatasetError
from hpo.files.run_dir import RunDir


class Server(ThreadingHTTPServer):
    """Serves ``files`` by path; those in ``cut`` end in the middle."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.cut: set[str] = set()
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        data = self.server.files.get(self.path)
        if data is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if self.path in self.server.cut else data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_file_comes_whole_and_what_the_check_made_of_it_is_returned(server: Server, tmp_path: Path) -> None:
    server.files["/file"] = b"data" * 100_000
    assert download(f"{server.url}/file", tmp_path / "new" / "file", bytes.upper) == b"DATA" * 100_000
    assert (tmp_path / "new" / "file").read_bytes() == b"data" * 100_000


def test_a_status_that_is_not_200_is_an_error(server: Server, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="404"):
        download(f"{server.url}/file", tmp_path / "file", bytes)
    assert not (tmp_path / "file").exists()


def test_what_the_check_refuses_is_not_kept(server: Server, tmp_path: Path) -> None:
    def refuse(data: bytes) -> bytes:
        raise ValueError("altered")

    server.files["/file"] = b"data"
    with pytest.raises(ValueError, match="altered"):
        download(f"{server.url}/file", tmp_path / "new" / "file", refuse)
    assert not (tmp_path / "new").exists()


def test_something_else_than_http_is_an_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"SSH-2.0\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(OSError, match="not HTTP"):
            download(f"http://127.0.0.1:{listener.getsockname()[1]}/file", tmp_path / "file", bytes)
        thread.join()


def test_a_data_set_is_downloaded_once(server: Server, run_dir: RunDir) -> None:
    tiny = make_tiny(server.url)
    server.files = {f"/{name}": data for name, data in tiny.files.items()}
    assert len(tiny.source.read(run_dir).train.labels) == 60
    assert len(tiny.source.read(run_dir).test.labels) == 12
    assert server.asked == [f"/{name}" for name in _FILES]
    assert {path.name for path in (run_dir.data_cache / "tiny").iterdir()} == set(_FILES)


def test_the_next_mirror_serves_what_the_first_lacks_or_cuts_off(server: Server, run_dir: RunDir) -> None:
    tiny = make_tiny(f"{server.url}/lacking", f"{server.url}/cutting", f"{server.url}/good")
    server.files = {f"/{mirror}/{name}": data for mirror in ("cutting", "good") for name, data in tiny.files.items()}
    server.cut = {f"/cutting/{name}" for name in tiny.files}
    assert len(tiny.source.read(run_dir).train.labels) == 60
    assert len(server.asked) == 12


def test_the_error_says_why_each_mirror_failed_and_what_to_do(server: Server, run_dir: RunDir) -> None:
    tiny = make_tiny(f"{server.url}/lacking", f"{server.url}/cutting", f"{server.url}/altered", "http://127.0.0.1:1")
    first = _FILES[0]
    server.files = {f"/cutting/{first}": tiny.files[first], f"/altered/{first}": tiny.files[_FILES[2]]}
    server.cut = {f"/cutting/{first}"}
    with pytest.raises(DatasetError) as caught:
        tiny.source.read(run_dir)
    message = str(caught.value)
    for part in (
        f"lacking/{first}: HTTP Error 404",
        f"cutting/{first}: it ends too early",
        f"altered/{first}: its uncompressed content has SHA-256",
        "Connection refused",
        "Set HPO_DATA_DIR to a folder that holds tiny/",
        "digits-cnn, which needs no download",
    ):
        assert part in message
    assert "\n" not in message
    assert not run_dir.data_cache.exists()
