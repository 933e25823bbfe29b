"""The dashboard over a real study, through a real server, with urllib and with a real browser."""

import http.client
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import optuna
import pytest
from dashboard_site import TOKEN, Site

from hpo.errors import UsageError
from hpo.web.dashboard import application, serve

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"


def test_the_url_carries_the_token(site: Site) -> None:
    """The URL given to `on_ready` has the token, quoted, and the port that port 0 stands for."""
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=correct%20horse%2Fbattery%3Fstaple", site.url)
    assert site.port > 0


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
