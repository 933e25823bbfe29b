"""``hpo`` and ``python -m hpo``: the command line, with a user's errors caught once, here."""

import os
import signal
import sys


def main() -> None:
    """Run the command line; ends the process with one of the exit codes of ``hpo.errors``."""
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:  # closed by whoever started us
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
            setattr(sys, name, os.fdopen(descriptor, "w"))
        # A sign that the terminal's or the file's encoding lacks is written as its number.
        getattr(sys, name).reconfigure(errors="backslashreplace")
    try:
        _hide_password()
        code = _run()
        sys.stdout.flush()  # a full disk or a closed pipe shows here at the latest
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    except BrokenPipeError:
        # Whoever read us has read enough; Python would complain when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 128 + signal.SIGPIPE
    except OSError as error:
        from hpo.errors import HpoError, Outage
        from hpo.trial.exhausted import is_disk_full

        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        failure = Outage if is_disk_full(error) else HpoError
        code = _complain(f"{type(error).__name__}: {error}", failure.exit_code)
    sys.exit(code)


def _run() -> int:
    from typer import TyperException

    from hpo.cli import app
    from hpo.errors import HpoError, Outage

    try:
        return app(standalone_mode=False) or 0
    except HpoError as error:
        return _complain(str(error), error.exit_code)
    except TyperException as error:  # an option or a command that is not there, a number out of range
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        code = getattr(error, "exit_code", 2)
        return _complain(message, code) if message else code  # without one, the help was printed
    except OSError:
        raise
    except Exception as error:
        # A database that went away is nobody's bug: no traceback.
        if not type(error).__module__.startswith(("sqlalchemy.", "optuna.")):
            raise
        from hpo.storage.retry import is_outage

        cause = error.__cause__ or error
        code = Outage.exit_code if is_outage(error) else 1
        return _complain(f"{type(cause).__name__}: {getattr(cause, 'orig', None) or cause}", code)


def _complain(message: str, code: int) -> int:
    from hpo.text import one_line

    try:
        print(f"hpo: {one_line(message)}", file=sys.stderr, flush=True)
    except OSError:  # such as a worker's, to a log on a full disk: the code tells its launcher
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    return code


def _hide_password() -> None:
    """Start again with a ``--storage`` that holds a password moved to the environment, out of sight of ``ps``."""
    for position, argument in enumerate(sys.argv):
        option, separator, url = argument.partition("=")
        if option != "--storage":
            continue
        last = position if separator else position + 1
        url = url if separator else "".join(sys.argv[last : last + 1])
        if ":" in url.partition("://")[2].rpartition("@")[0] or "password=" in url:
            rest = [*sys.argv[1:position], *sys.argv[last + 1 :]]
            os.execve(sys.executable, [sys.executable, "-P", "-m", "hpo", *rest], {**os.environ, "HPO_STORAGE": url})


if __name__ == "__main__":
    main()
