"""Events: one line each, whole, from many processes and before a kill."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from hpo.errors import Outage
from hpo.trial.events import EventLog


def test_an_event_is_one_line_with_its_time(tmp_path: Path) -> None:
    """In order, by a clock that nobody sets."""
    log = EventLog(tmp_path / "events" / "host-1.jsonl")
    log.write("claim", trial=3, worker="host-1")
    log.write("report", trial=3, value=0.5)
    first, second = (json.loads(line) for line in (tmp_path / "events" / "host-1.jsonl").read_text().splitlines())
    assert (first["event"], first["trial"], first["worker"]) == ("claim", 3, "host-1")
    assert (second["event"], second["value"]) == ("report", 0.5)
    assert first["monotonic"] < second["monotonic"]
    assert first["time"] <= second["time"]


def test_a_log_is_only_appended_to(tmp_path: Path) -> None:
    """A process of the same name goes on where another has ended."""
    for trial in (1, 2):
        EventLog(tmp_path / "host-1.jsonl").write("claim", trial=trial)
    lines = (tmp_path / "host-1.jsonl").read_text().splitlines()
    assert [json.loads(line)["trial"] for line in lines] == [1, 2]


def test_processes_that_write_at_once_leave_whole_lines(tmp_path: Path) -> None:
    """And one killed in between loses at most the event it had not begun to write."""
    script = (
        "import os, signal, sys; from pathlib import Path; from hpo.trial.events import EventLog\n"
        "log = EventLog(Path(sys.argv[1]))\n"
        "for trial in range(500): log.write('report', trial=trial, text='x' * 200)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "shared.jsonl"
    writers = [subprocess.Popen([sys.executable, "-c", script, str(path)]) for _ in range(4)]
    assert [writer.wait(60) for writer in writers] == [-9] * 4
    trials = [json.loads(line)["trial"] for line in path.read_text().splitlines()]
    assert sorted(trials) == sorted(list(range(500)) * 4)


def test_an_event_that_cannot_be_written_is_an_outage(tmp_path: Path) -> None:
    """The trial is given back instead of failing for it."""
    (tmp_path / "host-1.jsonl").mkdir()
    with pytest.raises(Outage, match=r"host-1\.jsonl cannot be written \(Is a directory\)"):
        EventLog(tmp_path / "host-1.jsonl").write("claim", trial=1)


def test_an_event_for_which_there_is_no_room_leaves_no_half_line(tmp_path: Path) -> None:
    """What a full disk takes of it is taken back, so that the next event is a line of its own."""
    path = tmp_path / "host-1.jsonl"
    log = EventLog(path)
    log.write("claim", trial=1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, limits[1]))
    try:
        with pytest.raises(Outage, match="cannot be written"):
            log.write("report", trial=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    log.write("give_back", trial=1)
    assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == ["claim", "give_back"]
