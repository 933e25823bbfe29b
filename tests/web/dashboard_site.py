"""A running dashboard over a small study, asked by urllib."""

import json
import sqlite3
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import optuna

from hpo.files.run_dir import RunDir
from hpo.storage.database import open_storage
from hpo.storage.url import resolve_url
from hpo.web.dashboard import serve

TOKEN = "correct horse/battery?staple"


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
