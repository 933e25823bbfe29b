"""Which requests a running dashboard refuses."""

import re
import select
import socket
from typing import Any
from urllib.parse import urlsplit

import optuna
import pytest
from dashboard_site import TOKEN, Site


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        pytest.param("/", {}, id="nothing"),
        pytest.param("/api/studies", {}, id="api"),
        pytest.param("/static/bundle.js", {}, id="script"),
        pytest.param("/?token=wrong", {}, id="wrong-token"),
        pytest.param("/?token=", {}, id="empty-token"),
        pytest.param("/?token=%C3%A9%00", {}, id="not-ascii"),
        pytest.param("/", {"Authorization": "Bearer wrong"}, id="wrong-bearer"),
        pytest.param("/", {"Authorization": f"Basic {TOKEN}"}, id="other-scheme"),
        pytest.param("/", {"Cookie": f"hpo-dashboard-80={TOKEN}"}, id="token-as-cookie"),
        pytest.param("/healthz/", {}, id="beside-the-health-check"),
    ],
)
def test_without_the_token_nothing_is_shown(site: Site, path: str, headers: dict[str, str]) -> None:
    """Neither pages nor scripts nor data, but how to get in."""
    answer = site.ask(path, **headers)
    assert answer.status == 401
    assert "`hpo dashboard` printed" in answer.body
    assert TOKEN not in answer.body
    assert "fmnist" not in answer.body
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_write_without_the_token_is_401(site: Site) -> None:
    """The token in the query opens no writes: only cookie or header do."""
    assert site.ask("/api/studies", "POST", {}).status == 401
    token = urlsplit(site.url).query
    assert site.ask(f"/api/studies?{token}", "POST", {}).status == 401


def test_the_first_visit_trades_the_token_for_a_cookie(site: Site) -> None:
    """The token leaves the address bar, other parameters stay, and the cookie then opens every page."""
    token = urlsplit(site.url).query
    answer = site.ask(f"/dashboard/studies/1?x=1&{token}&y=a%20b")
    assert answer.status == 302
    assert answer.headers["Location"] == "/dashboard/studies/1?x=1&y=a+b"
    assert answer.headers["Cache-Control"] == "no-store"
    cookie = answer.headers["Set-Cookie"]
    assert {part.strip() for part in cookie.split(";")[1:]} == {"Path=/", "HttpOnly", "SameSite=Strict"}
    pair = cookie.split(";")[0]
    assert pair.startswith(f"hpo-dashboard-{site.port}=")
    assert TOKEN not in cookie
    assert site.ask("/api/studies", Cookie=pair).status == 200
    assert site.ask("/api/studies", Cookie=f'other={{"a": "b,c"}}; {pair}').status == 200
    assert site.ask("/api/studies", Cookie=pair + "0").status == 401


@pytest.mark.parametrize("path", ["//example.org/", "/%2Fexample.org", "/%5Cexample.org", "/%0D%0AX:%20y"])
def test_the_redirect_stays_on_this_server(site: Site, path: str) -> None:
    """A link with the token and a crafted path cannot lead to another site."""
    location = site.ask(f"{path}?{urlsplit(site.url).query}").headers["Location"]
    assert re.fullmatch(r"/([^/\\\r\n].*)?", location)
    assert not urlsplit(location).netloc


def test_a_script_uses_the_bearer_header(site: Site) -> None:
    """Optuna's studies come back as optuna-dashboard serializes them."""
    studies = site.ask_with_token("/api/studies").json()["study_summaries"]
    assert [study["study_name"] for study in studies] == ["fmnist-cnn"]
    detail = site.ask_with_token(f"/api/studies/{studies[0]['study_id']}").json()
    states = [trial["state"] for trial in detail["trials"]]
    assert (len(states), states.count("Pruned"), states.count("Fail")) == (12, 3, 1)
    assert site.ask_with_token(f"/artifacts/1/1/{site.artifact}").json() == {"accuracy": [0.5]}


def test_without_a_token_everyone_who_reaches_it_reads(open_site: Site) -> None:
    assert "token" not in open_site.url
    assert open_site.ask("/api/studies").status == 200
    assert open_site.ask("/").headers["Location"].endswith("/dashboard")


def test_health_needs_no_token_and_reveals_nothing(site: Site) -> None:
    answer = site.ask("/healthz")
    assert (answer.status, answer.body) == (200, "ok")
    assert "Set-Cookie" not in answer.headers
    assert site.ask("/healthz", "HEAD").body == ""


def routes() -> list[tuple[str, str]]:
    """Each (method, path) that optuna-dashboard itself knows, with its wildcards filled in."""
    from optuna_dashboard import wsgi

    app: Any = wsgi(optuna.storages.InMemoryStorage())
    found = set()
    for route in app.routes:
        path = re.sub(r"<:re:[^>]*>", "", route.rule)
        path = re.sub(r"<(\w+)(:\w+(:[^>]*)?)?>", lambda match: WILDCARDS.get(match[1], "1"), path)
        found.add((route.method, path))
    return sorted(found)


WILDCARDS = {"filename": "bundle.js", "plot_type": "slice", "artifact_id": "0a1b"}


def test_read_only_refuses_each_write_that_optuna_dashboard_knows(site: Site) -> None:
    """Every route but GET answers 403 with the remedy; and nothing, GET included, alters the storage."""
    before = site.dump()
    writes = [(method, path) for method, path in routes() if method != "GET"]
    assert len(writes) >= 15
    assert {method for method, _ in writes} == {"POST", "PUT", "DELETE"}
    for method, path in [*writes, ("PATCH", "/api/studies/1"), ("delete", "/api/studies/1")]:
        answer = site.ask_with_token(path, method, {"study_name": "x", "directions": ["minimize"]})
        assert (answer.status, method, path) == (403, method, path)
        assert answer.json() == {
            "reason": f"This dashboard is read-only, but got a {method}. Start it with --writable."
        }
    for method, path in routes():
        if method == "GET":
            assert site.ask_with_token(path).status in (200, 302, 404), path
    assert site.dump() == before


def test_a_refusal_waits_for_the_body(site: Site) -> None:
    """Closing a connection with a body unread resets it, and the browser may then not show the reason."""
    with socket.create_connection(("127.0.0.1", site.port), timeout=30) as connection:
        head = f"PUT /api/studies/1/note HTTP/1.0\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 2\r\n\r\n"
        connection.sendall(head.encode())
        assert select.select([connection], [], [], 0.3) == ([], [], []), "it answered too early"
        connection.sendall(b"{}")
        assert connection.recv(1000).startswith(b"HTTP/1.0 403 Forbidden")


def test_writable_admits_writes_from_its_own_pages(writable: Site) -> None:
    """A note is kept with --writable, unless another site's page had the browser send it."""
    note = {"version": 1, "body": "a good study"}
    for site in ("same-site", "cross-site"):
        answer = writable.ask_with_token("/api/studies/1/note", "PUT", note, Sec_Fetch_Site=site)
        assert answer.status == 403
        assert site in answer.json()["reason"]
    assert writable.ask_with_token("/api/studies/1").json()["note"]["body"] == ""
    assert writable.ask_with_token("/api/studies/1/note", "PUT", note, Sec_Fetch_Site="same-origin").status in (
        200,
        204,
    )
    assert writable.ask_with_token("/api/studies/1").json()["note"]["body"] == "a good study"


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST:1", "127.0.0.1:8080", "[::1]:80"])
def test_a_loopback_server_answers_to_its_own_names(open_site: Site, name: str) -> None:
    assert open_site.ask("/api/studies", Host=name).status == 200


@pytest.mark.parametrize("name", ["example.org", "127.0.0.1.example.org:80", "[::1", "localhost:port", "10.0.0.1"])
def test_a_loopback_server_refuses_other_names(open_site: Site, name: str) -> None:
    """A page elsewhere cannot point its own name at this machine and read the studies."""
    answer = open_site.ask("/api/studies", Host=name)
    assert answer.status == 403
    assert "served as 127.0.0.1, but was asked for as" in answer.json()["reason"]
