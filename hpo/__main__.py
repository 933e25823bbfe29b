"""``hpo`` and ``python -m hpo``: the command line, with a user's errors caught once, here."""

import os
import sys


def main() -> None:
    """Run the command line; ends the process with one of the exit codes of ``hpo.errors``."""
    _hide_password()
    from hpo.cli import app
    from hpo.errors import HpoError

    try:
        app()
    except HpoError as error:
        print(f"hpo: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Exception as error:
        # A full disk or a database that went away is nobody's bug: no traceback.
        if not isinstance(error, OSError) and not type(error).__module__.startswith(("sqlalchemy.", "optuna.")):
            raise
        cause = error.__cause__ or error
        print(
            f"hpo: {type(cause).__name__}: {' '.join(str(getattr(cause, 'orig', None) or cause).split())}",
            file=sys.stderr,
        )
        sys.exit(1)


def _hide_password() -> None:
    """Start again with a ``--storage`` that holds a password moved to the environment, out of sight of ``ps``."""
    for position, argument in enumerate(sys.argv):
        option, separator, url = argument.partition("=")
        if option != "--storage":
            continue
        last = position if separator else position + 1
        url = url if separator else "".join(sys.argv[last : last + 1])
        if "@" in url and ":" in url.partition("://")[2].rpartition("@")[0]:
            rest = [*sys.argv[1:position], *sys.argv[last + 1 :]]
            os.execve(sys.executable, [sys.executable, "-P", "-m", "hpo", *rest], {**os.environ, "HPO_STORAGE": url})


if __name__ == "__main__":
    main()
