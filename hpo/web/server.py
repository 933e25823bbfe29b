"""The HTTP server of the dashboard: threads, either version of IP, and the URL to open."""

import ipaddress
import logging
import socket
import socketserver
from typing import Any
from urllib.parse import quote
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

_log = logging.getLogger(__name__)


def url_of(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int, token: str | None) -> str:
    """The URL under which a browser on this machine opens the dashboard, with its token if there is one."""
    if address.is_unspecified:
        # A browser cannot open "all addresses", but the loopback one is always among them.
        address = ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")
    name = f"[{address}]" if address.version == 6 else str(address)
    return f"http://{name}:{port}/" + (f"?token={quote(token, safe='')}" if token else "")


class _Handler(WSGIRequestHandler):
    timeout = 60  # seconds; browsers open connections in advance and may not use them

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing, because the request line of a first visit holds the token."""


class Server(socketserver.ThreadingMixIn, WSGIServer):
    """wsgiref's server with one thread per request, and for either version of IP.

    With one thread, a page would wait while the browser keeps another connection open.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, host: str, port: int) -> None:
        # IPv4, whose number is lower, if there is a choice: containers often list IPv6 without having it.
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        self.address_family = min(info[0] for info in found)
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        """Bind without looking up the host's full name, which takes http.server seconds where no DNS server answers."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.socket.getsockname()[:2]
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log a connection that the browser broke off; the base class would print its traceback."""
        _log.debug("The connection from %s broke.", client_address, exc_info=True)
