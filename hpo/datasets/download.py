"""Fetching one file over HTTP."""

from collections.abc import Callable
from pathlib import Path

from hpo.files.writing import replacing

TIMEOUT = 10.0
"""Seconds after which a download fails if there is no connection, or no further byte."""


def download(url: str, path: Path, check: Callable[[bytes], bytes]) -> bytes:
    """Fetch ``url`` to ``path`` with a progress bar on stderr; return what ``check`` returns for its content.

    Nothing is written to ``path`` unless ``check`` passes.

    Raises:
        OSError: no connection, an HTTP status that is not 200, or nothing received for `TIMEOUT` seconds.
        ValueError: ``check`` refused the content.
    """
    # Importing these takes 0.1 s, and only a first download needs them.
    import http.client
    import urllib.error
    import urllib.request

    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    chunks: list[bytes] = []
    try:
        with (
            urllib.request.urlopen(url, timeout=TIMEOUT) as response,
            Progress(*columns, console=Console(stderr=True)) as progress,
        ):
            length = response.headers.get("Content-Length")
            task = progress.add_task(path.name, total=int(length) if length else None)
            while chunk := response.read(1 << 16):
                chunks.append(chunk)
                progress.update(task, advance=len(chunk))
    except urllib.error.HTTPError as error:
        error.close()
        raise
    except http.client.HTTPException as error:
        raise OSError(f"the answer is not HTTP: {error!r}") from error
    data = b"".join(chunks)
    content = check(data)
    with replacing(path) as temporary:
        temporary.write_bytes(data)
    return content
