"""The dashboard over a real study, through a real server, with urllib and with a real browser."""

import http.client
import json
import re
import select
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import optuna
import pytest

from hpo.errors import UsageError
from hpo.files.run_dir import RunDir
from hpo.storage.database import open_storage
from hpo.storage.url import resolve_url
from hpo.web.dashboard import application, serve

TOKEN = "correct horse/battery?staple"
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: str

    def json(self) -> Any:
        return json.loads(self.body)


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


@dataclass
class Site:
    """A running dashboard; requests are made by urllib and never follow a redirect."""

    url: str
    database: Path
    artifact: str
    opener: urllib.request.OpenerDirector = field(
        # No proxy: these requests are for this machine.
        default_factory=lambda: urllib.request.build_opener(_Stay, urllib.request.ProxyHandler({}))
    )

    @property
    def root(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def port(self) -> int:
        port = urlsplit(self.url).port
        assert port
        return port

    def ask(self, path: str, method: str = "GET", body: Any = None, **headers: str) -> Answer:
        """Ask without credentials; keyword names are header names with `_` for `-`."""
        data = None if body is None else json.dumps(body).encode()
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.root + path, data=data, method=method, headers=sent)
        if data is not None:
            request.add_header("Content-Type", "application/json")
        try:
            with self.opener.open(request, timeout=30) as response:
                return Answer(response.status, dict(response.headers), response.read().decode(errors="replace"))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, dict(error.headers), error.read().decode())

    def ask_with_token(self, path: str, method: str = "GET", body: Any = None, **headers: str) -> Answer:
        return self.ask(path, method, body, Authorization=f"Bearer {TOKEN}", **headers)

    def dump(self) -> list[str]:
        """Everything the storage holds, as SQL."""
        connection = sqlite3.connect(self.database)
        try:
            return list(connection.iterdump())
        finally:
            connection.close()


def make_study(run_dir: RunDir, name: str) -> str:
    """A finished study of 12 trials, some pruned and one failed, with curves; the number of one's artifact."""
    run_dir.artifacts.mkdir()
    study = optuna.create_study(
        storage=f"sqlite:///{run_dir.database}",
        study_name=name,
        direction="maximize",
        sampler=optuna.samplers.RandomSampler(seed=0),
    )

    history = run_dir.home / "history.json"
    history.write_text('{"accuracy": [0.5]}')
    store = optuna.artifacts.FileSystemArtifactStore(run_dir.artifacts)
    identifiers: list[str] = []

    def objective(trial: optuna.Trial) -> float:
        if trial.number == 0:
            identifiers.append(
                optuna.artifacts.upload_artifact(artifact_store=store, file_path=str(history), study_or_trial=trial)
            )
        rate = trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True)
        trial.suggest_categorical("optimizer", ["adam", "sgd"])
        for epoch in range(3):
            trial.report(0.5 + epoch * rate, epoch)
        if trial.number % 4 == 1:
            raise optuna.TrialPruned
        if trial.number == 7:
            raise ValueError("a bug")
        return 0.5 + 2 * rate

    study.optimize(objective, n_trials=12, catch=ValueError)
    return identifiers[0]


def start(folder: Path, *, name: str, token: str | None = TOKEN, writable: bool = False) -> Site:
    """A dashboard in a thread of its own, which ends with the test run."""
    run_dir = RunDir(folder)
    identifier = make_study(run_dir, name)
    storage = open_storage(resolve_url(f"sqlite:///{run_dir.database}", run_dir), write=writable)
    ready = threading.Event()
    urls: list[str] = []

    def on_ready(url: str) -> None:
        urls.append(url)
        ready.set()

    threading.Thread(
        target=lambda: serve(
            storage,
            host="127.0.0.1",
            port=0,
            token=token,
            writable=writable,
            artifacts=run_dir.artifacts,
            on_ready=on_ready,
        ),
        daemon=True,
    ).start()
    assert ready.wait(60)
    return Site(urls[0], run_dir.database, identifier)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The default: a token, read-only."""
    return start(tmp_path_factory.mktemp("read-only"), name="fmnist-cnn")


@pytest.fixture(scope="module")
def writable(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return start(tmp_path_factory.mktemp("writable"), name="fmnist-cnn", writable=True)


@pytest.fixture(scope="module")
def open_site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return start(tmp_path_factory.mktemp("open"), name="digits-cnn", token=None)


def test_the_url_carries_the_token(site: Site) -> None:
    """The URL given to `on_ready` has the token, quoted, and the port that port 0 stands for."""
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=correct%20horse%2Fbattery%3Fstaple", site.url)
    assert site.port > 0


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


@pytest.mark.parametrize("token", ["", "  "])
def test_an_empty_token_is_refused(tmp_path: Path, token: str) -> None:
    """An empty setting must not open the dashboard to everyone by mistake."""
    storage = optuna.storages.InMemoryStorage()
    with pytest.raises(UsageError, match=r"must not be empty, but got .* --token or HPO_DASHBOARD_TOKEN"):
        application(storage, token=token, writable=False, artifacts=tmp_path)


@pytest.mark.parametrize("path", ["/healthz", "/dashboard", "/api/studies", "/nothing-here", "/?token=wrong"])
def test_every_answer_has_the_security_headers(site: Site, path: str) -> None:
    headers = site.ask(path, Authorization=f"Bearer {TOKEN}").headers
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"


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


def test_the_script_is_sent_to_a_client_that_accepts_any_encoding(open_site: Site) -> None:
    """optuna-dashboard alone answers 500 where Accept-Encoding is missing."""
    connection = http.client.HTTPConnection("127.0.0.1", open_site.port, timeout=30)
    connection.putrequest("GET", "/static/bundle.js", skip_accept_encoding=True)
    connection.endheaders()
    response = connection.getresponse()
    assert response.status == 200
    assert len(response.read()) > 1_000_000
    connection.close()


def test_malformed_lengths_are_survived(site: Site) -> None:
    """A length that is no number, or negative, holds up no thread."""
    for length in ("-1", "many"):
        connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=10)
        connection.request("GET", "/", headers={"Content-Length": length})
        assert connection.getresponse().status == 401
        connection.close()


def test_many_visitors_at_once(site: Site) -> None:
    """Requests run in threads of their own, a silent connection beside them."""
    with (
        socket.create_connection(("127.0.0.1", site.port)),
        ThreadPoolExecutor(8) as pool,
    ):
        answers = list(pool.map(site.ask_with_token, ["/api/studies/1"] * 40))
    assert {answer.status for answer in answers} == {200}


def test_a_busy_port_is_a_usage_error(tmp_path: Path) -> None:
    """The message names the port and the option that changes it."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        with pytest.raises(UsageError, match=rf"127\.0\.0\.1:{port} \(Address already in use\).*--port"):
            serve_in(tmp_path, host="127.0.0.1", port=port)


@pytest.mark.parametrize(
    ("host", "port"),
    [
        pytest.param("192.0.2.1", 0, id="address-of-another-machine"),
        pytest.param("no such host", 0, id="no-name"),
        pytest.param("a" * 64, 0, id="label-too-long"),
        pytest.param("127.0.0.1", 65536, id="port-too-high"),
    ],
)
def test_a_place_that_cannot_be_served_is_a_usage_error(tmp_path: Path, host: str, port: int) -> None:
    with pytest.raises(UsageError, match=rf"but got {host}:{port} \(.*--port .* --host"):
        serve_in(tmp_path, host=host, port=port)


def serve_in(folder: Path, *, host: str, port: int) -> None:
    serve(
        optuna.storages.InMemoryStorage(),
        host=host,
        port=port,
        token=TOKEN,
        writable=False,
        artifacts=folder,
        on_ready=lambda url: pytest.fail(f"it listens on {url}"),
    )


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6 loopback address")

PROGRAM = """
import sys
from pathlib import Path
import optuna
from hpo.web import dashboard
assert "optuna_dashboard" not in sys.modules, "imported before it is needed"
storage = optuna.storages.RDBStorage("sqlite:///" + sys.argv[1])
dashboard.serve(storage, host=sys.argv[2], port=0, token="t", writable=False, artifacts=Path("artifacts"),
                on_ready=lambda url: print(url, flush=True))
print("heavy:", sorted({name.split(".")[0] for name in sys.modules} & {"tensorflow", "keras", "jax", "torch"}))
"""


@pytest.mark.parametrize(
    ("host", "shown", "ending"),
    [
        pytest.param("127.0.0.1", "127.0.0.1", signal.SIGTERM, id="sigterm"),
        pytest.param("localhost", "127.0.0.1", signal.SIGINT, id="ctrl-c"),
        pytest.param("0.0.0.0", "127.0.0.1", signal.SIGTERM, id="all-addresses"),
        pytest.param("::1", "[::1]", signal.SIGTERM, id="ipv6", marks=needs_ipv6),
    ],
)
def test_a_signal_ends_it_cleanly(tmp_path: Path, host: str, shown: str, ending: signal.Signals) -> None:
    """A real process ends at once, with 0 and without a traceback, and never imported TensorFlow or Keras."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "hpo.db"), host],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        url = process.stdout.readline().strip()
        assert url.startswith(f"http://{shown}:")
        site = Site(url, tmp_path / "hpo.db", "")
        # Reached under another name, as through a published container port, unless it is bound to loopback.
        status = site.ask("/api/studies", Host="example.org", Authorization="Bearer t").status
        assert status == (200 if host == "0.0.0.0" else 403)
        assert site.ask("/?token=t").status == 302
        process.send_signal(ending)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, out) == (0, "heavy: []\n")
    assert err == "", "a log line would show the token"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not Path(CHROMIUM).exists():
        pytest.skip("no chromium: install Debian's package `chromium`")
    api = pytest.importorskip("playwright.sync_api", reason="no playwright: install hpo[test]")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            timeout=120_000,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--no-first-run",
            ],
        )
        yield browser
        browser.close()


def test_a_person_sees_the_study_and_its_trials(site: Site, browser: Any, tmp_path: Path) -> None:
    """The printed URL opens the list of studies, the study, its plots and its trials; no request is refused."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.set_default_timeout(120_000)
    page = context.new_page()
    trouble: list[str] = []
    seen: list[str] = []

    def on_response(response: Any) -> None:
        seen.append(f"{response.request.method} {response.url}")
        if response.status >= 400:
            trouble.append(f"{response.status} {response.url}")

    def on_failure(request: Any) -> None:
        if request.failure != "net::ERR_ABORTED":  # by the page itself, which has been left
            trouble.append(f"{request.failure} {request.url}")

    page.on("response", on_response)
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("requestfailed", on_failure)

    page.goto(site.url)
    page.wait_for_url(f"{site.root}/dashboard")
    page.get_by_text("fmnist-cnn").first.click()
    page.get_by_text("Best Trial").first.wait_for()
    # A plot drawn by Plotly, under optuna-dashboard's own content security policy.
    page.locator(".js-plotly-plot").first.wait_for()
    page.wait_for_load_state("networkidle")
    page.screenshot(path=tmp_path / "study.png")
    page.goto(f"{site.root}/dashboard/studies/1/trials")
    page.get_by_text("Trial 11").first.wait_for()
    page.get_by_text("learning_rate").first.wait_for()
    page.get_by_text("Pruned").first.wait_for()
    page.screenshot(path=tmp_path / "trials.png")

    assert trouble == []
    assert all(line.startswith(f"GET {site.root}/") for line in seen), "it reads by GET, from here alone"
    assert not any("token=" in line for line in seen[1:]), "the token left the address bar"
    context.close()
    stranger = browser.new_context()
    page = stranger.new_page()
    page.goto(f"{site.root}/dashboard/studies/1")
    assert "needs its token" in page.inner_text("body")
    stranger.close()
