"""optuna-dashboard's web application behind a token, read-only unless asked.

As with Jupyter, the printed URL carries ``?token=…``; the first visit trades it for a cookie and drops it
from the address bar. A script sends ``Authorization: Bearer TOKEN`` instead.
"""

import hmac
import ipaddress
import json
import logging
import signal
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, quote, urlencode, urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from hpo.errors import UsageError

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from optuna.storages import BaseStorage

_log = logging.getLogger(__name__)

# optuna-dashboard 0.21 reads with GET alone. Its only other requests that write nothing go to /api/llm, and
# answer 400 without a language model, which hpo never gives it. So nothing else is admitted.
_READING = {"GET", "HEAD", "OPTIONS"}

_SECURITY_HEADERS = [
    ("X-Frame-Options", "DENY"),
    ("X-Content-Type-Options", "nosniff"),
    # The first URL holds the token: no other site may learn it.
    ("Referrer-Policy", "no-referrer"),
]


def application(
    storage: "BaseStorage",
    *,
    token: str | None,
    writable: bool,
    artifacts: Path,
    own_name: str | None = None,
) -> "WSGIApplication":
    """optuna-dashboard over ``storage`` as a guarded WSGI application.

    Args:
        storage: the studies to show.
        token: what a visitor must present; None admits everyone who reaches the server.
        writable: admit requests that change studies; else they get 403.
        artifacts: the folder of Optuna's artifact store; it need not exist yet.
        own_name: refuse requests under any other name than this and loopback ones; None admits all names.

    Raises:
        UsageError: the token is empty, so that everyone would hold it.
    """
    if token is not None and not token.strip():
        raise UsageError(
            f"A dashboard token must not be empty, but got {token!r}. "
            "Give one with --token or HPO_DASHBOARD_TOKEN, or neither to have one made."
        )
    # 1.7 s to import, which no other command should pay.
    from optuna.artifacts import FileSystemArtifactStore
    from optuna_dashboard import wsgi

    dashboard: WSGIApplication = wsgi(storage, artifact_store=FileSystemArtifactStore(artifacts))

    def guarded(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            return start_response(status, headers + _SECURITY_HEADERS, exc_info)

        answer = (
            _health(environ)
            or (own_name and _foreign_name(environ, own_name))
            or (token and _without_token(environ, token))
            or _forbidden_write(environ, writable=writable)
        )
        if not answer:
            # optuna-dashboard answers 500 for its script and icon to a client that does not send this.
            environ.setdefault("HTTP_ACCEPT_ENCODING", "")
            return dashboard(environ, start)
        # Closing a socket with bytes unread resets it, and the client may never see the answer.
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
    """Serve the dashboard until Ctrl-C or SIGTERM, the ordinary ways to end it, and return.

    Args, beside those of `application`:
        host: name or address to listen on; a loopback one also refuses requests made under another name.
        port: TCP port; 0 picks a free one.
        on_ready: called once, when the server listens, with its URL, token included.

    Raises:
        UsageError: nothing can listen on that host and port, or the token is empty.
    """
    try:
        server = _Server(host, port)
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
            # Both signals now raise KeyboardInterrupt, which ends serve_forever without a second thread.
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            on_ready(_url(address, server.server_port, token))
            server.serve_forever()
        except KeyboardInterrupt:
            _log.info("The dashboard stopped.")


class _Answer(NamedTuple):
    status: str
    headers: list[tuple[str, str]]
    body: bytes


def _text(status: str, text: str, *headers: tuple[str, str]) -> _Answer:
    return _Answer(status, [("Content-Type", "text/plain; charset=utf-8"), *headers], text.encode())


def _forbidden(reason: str) -> _Answer:
    # The shape of optuna-dashboard's own errors: its pages show the reason to the user.
    body = json.dumps({"reason": reason}).encode()
    return _Answer("403 Forbidden", [("Content-Type", "application/json")], body)


def _health(environ: "WSGIEnvironment") -> _Answer | None:
    """``/healthz`` for everyone, telling nothing but that the server runs."""
    return _text("200 OK", "ok") if environ["PATH_INFO"] == "/healthz" else None


def _foreign_name(environ: "WSGIEnvironment", own_name: str) -> _Answer | None:
    """A page elsewhere whose name was pointed at this machine (DNS rebinding) may not read the studies.

    Any port passes: a tunnel may have another at its near end.
    """
    name, _ = _host(environ)
    try:
        own = ipaddress.ip_address(name).is_loopback
    except ValueError:
        own = name in ("localhost", own_name.lower())
    if own:
        return None
    return _forbidden(f"This dashboard is served as {own_name}, but was asked for as {name!r}. Set --host.")


def _without_token(environ: "WSGIEnvironment", token: str) -> _Answer | None:
    # Browsers send a cookie to every port of a host. So each dashboard's has a name of its own, and proves the
    # token without telling it to whatever else serves there.
    proof = hmac.new(token.encode(), b"hpo dashboard cookie", "sha256").hexdigest()
    cookie = f"hpo-dashboard-{_host(environ)[1] or 80}={proof}"
    query = parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    given = [value for name, value in query if name == "token"]
    if environ["REQUEST_METHOD"] in _READING and given and _same(given[-1], token):
        rest = urlencode([pair for pair in query if pair[0] != "token"])
        # One slash alone: a Location of "//name/" would lead to another site.
        path = "/" + quote(environ["PATH_INFO"].encode("latin-1")).lstrip("/")
        return _text(
            "302 Found",
            "",
            ("Location", f"{path}?{rest}" if rest else path),
            ("Set-Cookie", f"{cookie}; Path=/; HttpOnly; SameSite=Strict"),
            ("Cache-Control", "no-store"),
        )
    scheme, _, bearer = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() == "bearer" and _same(bearer.strip().encode("latin-1").decode("utf-8", "replace"), token):
        return None
    # Not http.cookies: it drops every cookie after one that another server on this host wrote in its own way.
    if any(_same(pair.strip(), cookie) for pair in environ.get("HTTP_COOKIE", "").split(";")):
        return None
    return _text(
        "401 Unauthorized",
        "401: this dashboard needs its token.\n\nOpen the address that `hpo dashboard` printed, "
        "with ?token=… at its end, or send the header `Authorization: Bearer TOKEN`.\n",
        ("WWW-Authenticate", 'Bearer realm="hpo dashboard"'),
        ("Cache-Control", "no-store"),
    )


def _forbidden_write(environ: "WSGIEnvironment", *, writable: bool) -> _Answer | None:
    method = environ["REQUEST_METHOD"]
    if method in _READING:
        return None
    if not writable:
        return _forbidden(f"This dashboard is read-only, but got a {method}. Start it with --writable.")
    # SameSite=Strict still admits pages from other ports of this machine; this header, which browsers always
    # send to localhost and scripts never, tells them apart.
    site = environ.get("HTTP_SEC_FETCH_SITE", "none")
    if site in ("same-origin", "none"):
        return None
    return _forbidden(f"Only the dashboard's own pages may write, but a {site} page sent a {method}.")


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())


def _host(environ: "WSGIEnvironment") -> tuple[str, int | None]:
    """Name, in lower case, and port of the Host header; an empty name if it has none."""
    try:
        parts = urlsplit("//" + environ.get("HTTP_HOST", ""))
        return parts.hostname or "", parts.port
    except ValueError:
        return "", None


def _url(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int, token: str | None) -> str:
    if address.is_unspecified:
        # "All addresses" cannot be opened; the loopback one is always among them.
        address = ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")
    name = f"[{address}]" if address.version == 6 else str(address)
    return f"http://{name}:{port}/" + (f"?token={quote(token, safe='')}" if token else "")


class _Handler(WSGIRequestHandler):
    timeout = 60  # seconds; browsers open connections ahead and may leave them silent

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the request line of a first visit holds the token."""


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    """wsgiref's server with a thread for each request, and for either version of IP.

    One thread would leave a page waiting while the browser holds another connection open.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, host: str, port: int) -> None:
        # IPv4 if there is a choice (its number is lower): containers often name IPv6 without having it.
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        self.address_family = min(info[0] for info in found)
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        # http.server's own looks up the host's full name, which takes seconds without a DNS server.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.socket.getsockname()[:2]
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        _log.debug("The connection from %s broke.", client_address, exc_info=True)
