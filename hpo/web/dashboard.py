"""optuna-dashboard's web application behind a token, read-only unless asked."""

import ipaddress
import logging
import signal
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.errors import UsageError
from hpo.web.guard import refusal
from hpo.web.server import Server, url_of

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from optuna.storages import BaseStorage

_log = logging.getLogger(__name__)

_SECURITY_HEADERS = [
    ("X-Frame-Options", "DENY"),
    ("X-Content-Type-Options", "nosniff"),
    # The first URL holds the token, which no other site may learn.
    ("Referrer-Policy", "no-referrer"),
]


def application(
    storage: "BaseStorage", *, token: str | None, writable: bool, artifacts: Path, own_name: str | None = None
) -> "WSGIApplication":
    """optuna-dashboard over ``storage`` as a guarded WSGI application.

    Args:
        storage: the studies to show.
        token: the token that a visitor must have; None admits everyone who reaches the server.
        writable: admit requests that change studies; otherwise they get 403.
        artifacts: the folder of Optuna's artifact store; it need not exist yet.
        own_name: refuse requests for any name except this and loopback ones; None admits all names.

    Raises:
        UsageError: the token is empty, so that everyone would have it.
    """
    if token is not None and not token.strip():
        raise UsageError(
            f"A dashboard token must not be empty, but got {token!r}. "
            "Give one with --token or HPO_DASHBOARD_TOKEN, or neither to have one made."
        )
    # They take 1.7 s to import, and no other command needs them.
    from optuna.artifacts import FileSystemArtifactStore
    from optuna_dashboard import wsgi

    dashboard: WSGIApplication = wsgi(storage, artifact_store=FileSystemArtifactStore(artifacts))

    def guarded(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            return start_response(status, headers + _SECURITY_HEADERS, exc_info)

        answer = refusal(environ, token=token, writable=writable, own_name=own_name)
        if not answer:
            # Without this header, optuna-dashboard answers 500 to requests for its script and icon.
            environ.setdefault("HTTP_ACCEPT_ENCODING", "")
            return dashboard(environ, start)
        # If a socket is closed before all bytes are read, it is reset, and the client may never see the answer.
        length = environ.get("CONTENT_LENGTH") or "0"
        environ["wsgi.input"].read(min(int(length), 1 << 20) if length.isdecimal() else 0)
        start(answer.status, [("Content-Length", str(len(answer.body))), *answer.headers])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [answer.body]

    return guarded


def serve(
    storage: "BaseStorage",
    *,
    host: str,
    port: int,
    token: str | None,
    writable: bool,
    artifacts: Path,
    on_ready: Callable[[str], None],
) -> None:
    """Serve the dashboard until Ctrl-C or SIGTERM, the usual ways to end it, then return.

    Args, besides those of `application`:
        host: the name or address to listen on; if it is a loopback one, requests for other names are refused.
        port: the TCP port; 0 picks a free one.
        on_ready: called once, when the server listens, with its URL, which has the token.

    Raises:
        UsageError: it cannot listen on that host and port, or the token is empty.
    """
    try:
        server = Server(host, port)
    except (OSError, OverflowError, UnicodeError) as error:
        raise UsageError(
            f"The dashboard needs a free port on an address of this machine, but got {host}:{port} "
            f"({getattr(error, 'strerror', None) or error}). Choose another port with --port "
            "(0 picks a free one) or another address with --host."
        ) from error
    with server:
        address = ipaddress.ip_address(server.socket.getsockname()[0])
        own_name = host if address.is_loopback else None
        server.set_app(application(storage, token=token, writable=writable, artifacts=artifacts, own_name=own_name))
        if threading.current_thread() is threading.main_thread():
            # Now both signals raise KeyboardInterrupt, which ends serve_forever without a second thread.
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            on_ready(url_of(address, server.server_port, token))
            server.serve_forever()
        except KeyboardInterrupt:
            _log.info("The dashboard stopped.")
