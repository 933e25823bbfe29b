"""A network between the workers and a database, that a test cuts."""

import contextlib
import selectors
import socket
import threading
from pathlib import Path
from types import TracebackType


class Proxy:
    """A port on loopback that leads to a PostgreSQL server's socket.

    While it is cut nothing passes either way and nobody is told, as with a cable pulled out; new connections wait.
    Cut at a chosen moment, the connection that it came to is broken: its answer is lost.

    Args:
        folder: of the server's socket.
    """

    def __init__(self, folder: Path) -> None:
        self._target = str(folder / ".s.PGSQL.5432")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._passing = threading.Event()
        self._passing.set()
        self._ended = False
        self._closing = False
        self._last: bytes | None = None
        self._open: list[socket.socket] = [self._listener]
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> "Proxy":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
        self._passing.set()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def cut(self, after: bytes | None = None, *, close: bool = False) -> None:
        """Let nothing pass from now on; or from the moment on when a client has sent ``after``, which still passes.

        Args:
            close: all connections at once, and new ones as they come, until it is mended.
        """
        self._closing = close
        if after is None:
            self._passing.clear()
        self._last = after
        if close:
            for connection in self._open[1:]:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    @property
    def is_cut(self) -> bool:
        return not self._passing.is_set()

    def mend(self) -> None:
        """Let all pass again, what had been sent in between, too."""
        self._closing = False
        self._passing.set()

    def _accept(self) -> None:
        while not self._ended:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._closing:
                client.close()
                continue
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._target)
            self._open += [client, server]
            threading.Thread(target=self._pass, args=(client, server), daemon=True).start()

    def _pass(self, client: socket.socket, server: socket.socket) -> None:
        other = {client: server, server: client}
        with selectors.DefaultSelector() as selector, client, server, contextlib.suppress(OSError):
            for end in other:
                selector.register(end, selectors.EVENT_READ)
            while True:
                for key, _events in selector.select():
                    while not self._passing.wait(0.1):
                        if self._closing:
                            return
                    end = key.fileobj
                    assert isinstance(end, socket.socket)
                    if not (data := end.recv(65536)):
                        return
                    other[end].sendall(data)
                    if end is client and self._last is not None and self._last in data:
                        self._last = None
                        self._passing.clear()
                        return
