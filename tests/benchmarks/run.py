"""Run all benchmarks, or those named, one after another: `python tests/benchmarks/run.py [NAME ...]`.

Each writes its own section of RESULTS.md when it is done, so an interrupted run keeps what it has. On a quiet machine
of two cores all of them take about twenty minutes.
"""

import importlib.util
import subprocess
import sys
import time

from measurement import HERE, RESULTS, SECTIONS


def main() -> None:
    has_peers = importlib.util.find_spec("ray") is not None  # of the extra `peers`
    names = sys.argv[1:] or [name for name in SECTIONS if name != "peers" or has_peers]
    if unknown := [name for name in names if name not in SECTIONS]:
        sys.exit(f"A benchmark must be one of {', '.join(SECTIONS)}, but got {', '.join(unknown)}.")
    failed = []
    for name in names:
        print(f"{name} …", flush=True)
        started = time.monotonic()
        if subprocess.run([sys.executable, str(HERE / f"{name}.py")], check=False).returncode != 0:
            failed.append(name)
        print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)
    print(f"Wrote {RESULTS}.")
    if failed:
        sys.exit(f"Failed, with their sections left as they were: {', '.join(failed)}.")


if __name__ == "__main__":
    main()
