"""Which requests the dashboard refuses: those without its token, for another name, or that would write.

As with Jupyter, the printed URL has ``?token=…`` at its end. The first visit replaces it by a cookie and removes it
from the address bar. A script sends ``Authorization: Bearer TOKEN`` instead.
"""

import hmac
import ipaddress
import json
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

# optuna-dashboard 0.21 reads only with GET. Its other requests that write nothing go to /api/llm, and get 400 without a
# language model, which hpo never gives it. So no other method is admitted.
_READING = {"GET", "HEAD", "OPTIONS"}


class Answer(NamedTuple):
    """A complete HTTP response."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes


def refusal(environ: "WSGIEnvironment", *, token: str | None, writable: bool, own_name: str | None) -> Answer | None:
    """The answer to a request that optuna-dashboard shall not see; None if it may. Arguments as for `application`."""
    if environ["PATH_INFO"] == "/healthz":  # for everyone; it says only that the server runs
        return _text("200 OK", "ok")
    return (
        (_foreign_name(environ, own_name) if own_name else None)
        or (_without_token(environ, token) if token else None)
        or _forbidden_write(environ, writable=writable)
    )


def _text(status: str, text: str, *headers: tuple[str, str]) -> Answer:
    return Answer(status, [("Content-Type", "text/plain; charset=utf-8"), *headers], text.encode())


def _forbidden(reason: str) -> Answer:
    # The same form as optuna-dashboard's own errors: its pages show the reason to the user.
    body = json.dumps({"reason": reason}).encode()
    return Answer("403 Forbidden", [("Content-Type", "application/json")], body)


def _foreign_name(environ: "WSGIEnvironment", own_name: str) -> Answer | None:
    """Refuse a page of another site whose name leads to this machine (DNS rebinding): it may not read the studies.

    Every port is admitted, because a tunnel may use another one on the visitor's side.
    """
    name, _ = _host(environ)
    try:
        own = ipaddress.ip_address(name).is_loopback
    except ValueError:
        own = name in ("localhost", own_name.lower())
    if own:
        return None
    return _forbidden(f"This dashboard is served as {own_name}, but was asked for as {name!r}. Set --host.")


def _without_token(environ: "WSGIEnvironment", token: str) -> Answer | None:
    # Browsers send a cookie to every port of a host. So the cookie of each dashboard has its own name, and proves that
    # the visitor has the token without showing the token to other servers on that host.
    proof = hmac.new(token.encode(), b"hpo dashboard cookie", "sha256").hexdigest()
    cookie = f"hpo-dashboard-{_host(environ)[1] or 80}={proof}"
    query = parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    given = [value for name, value in query if name == "token"]
    if environ["REQUEST_METHOD"] in _READING and given and _same(given[-1], token):
        rest = urlencode([pair for pair in query if pair[0] != "token"])
        # Exactly one slash: a Location of "//name/" would lead to another site.
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
    # Not by http.cookies, which drops every cookie after a malformed one, perhaps of another server on this host.
    if any(_same(pair.strip(), cookie) for pair in environ.get("HTTP_COOKIE", "").split(";")):
        return None
    return _text(
        "401 Unauthorized",
        "401: this dashboard needs its token.\n\nOpen the address that `hpo dashboard` printed, "
        "with ?token=… at its end, or send the header `Authorization: Bearer TOKEN`.\n",
        ("WWW-Authenticate", 'Bearer realm="hpo dashboard"'),
        ("Cache-Control", "no-store"),
    )


def _forbidden_write(environ: "WSGIEnvironment", *, writable: bool) -> Answer | None:
    method = environ["REQUEST_METHOD"]
    if method in _READING:
        return None
    if not writable:
        return _forbidden(f"This dashboard is read-only, but got a {method}. Start it with --writable.")
    # SameSite=Strict also admits pages from other ports of this machine. Browsers always send this header to localhost,
    # and scripts never do, so it tells which page sent the request.
    site = environ.get("HTTP_SEC_FETCH_SITE", "none")
    if site in ("same-origin", "none"):
        return None
    return _forbidden(f"Only the dashboard's own pages may write, but a {site} page sent a {method}.")


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())


def _host(environ: "WSGIEnvironment") -> tuple[str, int | None]:
    """The name, in lower case, and the port in the Host header; an empty name if there is none."""
    try:
        parts = urlsplit("//" + environ.get("HTTP_HOST", ""))
        return parts.hostname or "", parts.port
    except ValueError:
        return "", None
