"""Fetch a data set of torchvision: silent hosts, failed attempts, files that arrive whole or not at all."""

import contextlib
import http.client
import math
import socket
import ssl
import tempfile
import textwrap
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from coursekit.files import remove_abandoned

_NO_ANSWER_AFTER_S = 4  # a host that has not answered by then counts as down
_TRY_AGAIN_AFTER_S = (0.5, 1.0)  # the pauses before the second and the third attempt at a download
_TRY_AGAIN_WITHIN_S = 6  # no attempt begins later than that
_ASK_AGAIN_AFTER_S = 60  # hosts that were silent for seconds are not asked again until then
silent_since: dict[str, float] = {}  # data set -> when its hosts were found silent


def download(name: str, destination: Path) -> str:
    """Fetch a data set of torchvision into the folder `destination`; return "" or, in a few words, why it failed."""
    started = time.monotonic()
    if started - silent_since.get(name, -math.inf) < _ASK_AGAIN_AFTER_S:
        return "the hosts do not answer"
    from torchvision import datasets  # a second to import: only where there is something to fetch

    dataset = getattr(datasets, name)
    mirrors = _answering(dataset.mirrors, dataset.resources[0][0])
    if not mirrors:
        if time.monotonic() - started > 1:  # a refusal costs nothing and may be asked again
            silent_since[name] = time.monotonic()
        return "the hosts do not answer"
    reachable = type(name, (dataset,), {"mirrors": mirrors})
    return _fetch(reachable, destination, started + _TRY_AGAIN_WITHIN_S)


def _fetch(dataset: type, destination: Path, deadline: float) -> str:
    """Let a torchvision data set download itself, then move its packed files to `destination`; return as above.

    An attempt that fails is repeated, and keeps the files that have arrived intact.
    """
    try:
        destination.mkdir(parents=True, exist_ok=True)
        remove_abandoned(destination.glob("download-*"))
        with tempfile.TemporaryDirectory(dir=destination, prefix="download-") as scratch:
            problem = _try_to_download(dataset, scratch)
            for pause in _TRY_AGAIN_AFTER_S:
                if problem and time.monotonic() < deadline:
                    time.sleep(pause)
                    problem = _try_to_download(dataset, scratch)
            for packed in Path(scratch, dataset.__name__, "raw").glob("*.gz"):
                if not problem:
                    packed.replace(destination / packed.name)  # atomic: a reader sees the whole file or none
    except OSError as error:
        return f"the cache cannot be written: {error.strerror}"
    return problem


def _try_to_download(dataset: type, folder: str) -> str:
    network = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)
    try:
        with socket_timeout():
            dataset(folder, download=True)
    except (*network, RuntimeError) as error:  # torchvision raises RuntimeError for a wrong checksum
        return "the download failed: " + textwrap.shorten(str(error), 160, placeholder=" …")
    return ""


def _answering(mirrors: list[str], file: str) -> list[str]:
    """Return the mirrors that answer at all, even with an error page, in their order.

    All are tried at once, in threads, since DNS look-ups have no timeout.
    """
    answers = {}
    askers = [
        threading.Thread(
            target=lambda mirror=mirror: answers.update({mirror: _answers(mirror + file)}), daemon=True
        )
        for mirror in mirrors
    ]
    for asker in askers:
        asker.start()
    deadline = time.monotonic() + _NO_ANSWER_AFTER_S
    for asker in askers:
        asker.join(max(0, deadline - time.monotonic()))
    return [mirror for mirror in mirrors if answers.get(mirror)]


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_NO_ANSWER_AFTER_S).close()
    except urllib.error.HTTPError as answer:
        answer.close()
        return True
    except (OSError, http.client.HTTPException):
        return False
    return True


@contextlib.contextmanager
def socket_timeout(seconds: float = _NO_ANSWER_AFTER_S) -> Iterator[None]:
    """Let sockets opened inside give up after `seconds` without data; torchvision sets no limit of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
