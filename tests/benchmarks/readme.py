"""Runs the README's search and writes what it printed, and a picture of it, into the README.

Usage: ``python tests/benchmarks/readme.py [FOLDER]``. The commands run in FOLDER (default: a new temporary one); what
each prints is kept there as ``launch.txt`` and ``export.txt``, and a command whose file is there is not run again.
"""

import os
import re
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from playwright.sync_api import sync_playwright

from hpo.files.run_dir import RunDir
from hpo.storage.database import open_storage
from hpo.storage.url import resolve_url
from hpo.web.dashboard import serve

ROOT = Path(__file__).parents[2]
COMMANDS = {
    "launch": ["hpo", "launch", "--study", "fmnist-cnn"],
    "export": ["hpo", "export", "--study", "fmnist-cnn", "--output", "best.h5"],
}


def main() -> None:
    """Run what has not been run in the folder, then write the README's outputs and its picture."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="hpo-readme-"))
    folder.mkdir(parents=True, exist_ok=True)
    printed = {name: _printed(folder, name, command) for name, command in COMMANDS.items()}
    readme = (ROOT / "README.md").read_text()
    for name, command in COMMANDS.items():
        readme = _with_output(readme, name, command, printed[name])
    (ROOT / "README.md").write_text(readme)
    _photograph(RunDir(folder.absolute() / "runs"), ROOT / "docs" / "dashboard.png")


def _printed(folder: Path, name: str, command: list[str]) -> str:
    """What the command prints; run where its file is not there yet."""
    kept = folder / f"{name}.txt"
    if not kept.exists():
        environment = {key: value for key, value in os.environ.items() if key not in ("HPO_HOME", "HPO_STORAGE")}
        partial = kept.with_suffix(".partial")
        with partial.open("w") as stream:
            subprocess.run(command, cwd=folder, env=environment, stdout=stream, check=True)
        partial.replace(kept)
    return kept.read_text().strip()


def _with_output(readme: str, name: str, command: list[str], printed: str) -> str:
    begin, end = f"<!-- output of {name} -->\n", "<!-- end -->"
    block = f"{begin}```text\n$ {' '.join(command)}\n{_shortened(printed)}\n```\n{end}"
    text, count = re.subn(re.escape(begin) + ".*?" + re.escape(end), lambda _: block, readme, flags=re.DOTALL)
    assert count == 1, f"README.md has no place for the output of {name}"
    return text


def _shortened(printed: str) -> str:
    """``printed`` with the middle of its progress, the lines that begin with a date, left out and counted."""
    lines = printed.splitlines()
    progress = [line for line in lines if re.match(r"\d{4}-\d\d-\d\d ", line)]
    middle = progress[3:-3]
    if not middle:
        return printed
    first = lines.index(middle[0])
    return "\n".join([*lines[:first], f"[{len(middle)} more such lines]", *lines[first + len(middle) :]])


def _photograph(run_dir: RunDir, output: Path) -> None:
    """A picture of the finished search in optuna-dashboard, taken by Debian's chromium."""
    storage = open_storage(resolve_url(f"sqlite:///{run_dir.database}", run_dir), write=False)
    addresses: list[str] = []
    ready = threading.Event()

    def announce(url: str) -> None:
        addresses.append(url)
        ready.set()

    served = {"host": "127.0.0.1", "port": 0, "token": "picture", "writable": False, "artifacts": run_dir.artifacts}
    threading.Thread(target=serve, args=(storage,), kwargs={**served, "on_ready": announce}, daemon=True).start()
    assert ready.wait(30)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(addresses[0])
        page.get_by_text("fmnist-cnn").first.click()
        page.wait_for_timeout(8000)  # the plots are drawn one after another
        output.parent.mkdir(exist_ok=True)
        page.screenshot(path=output)
        browser.close()


if __name__ == "__main__":
    main()
