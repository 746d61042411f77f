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

from coursekit.data.problems import PlaceError
from coursekit.files import remove_abandoned

_NO_ANSWER_AFTER_S = 4  # a host that has not answered by then counts as down
_NO_DATA_AFTER_S = 4  # a download that has stood still for so long has failed
_TRY_AGAIN_AFTER_S = (0.5, 1.0)  # the pauses before the second and the third attempt at a download
_TRY_AGAIN_WITHIN_S = 6  # no attempt begins later than that
_ASK_AGAIN_AFTER_S = 60  # hosts that were silent for seconds are not asked again until then
silent_since: dict[str, float] = {}  # data set -> when its hosts were found silent
_SILENT = ("the hosts do not answer", "go online once")
_CHECK_CERTIFICATES = (
    "check the system clock and the proxy of your network, "
    "or set SSL_CERT_FILE to the path that `python -m certifi` prints"
)


def download(name: str, destination: Path) -> None:
    """Fetch a data set of torchvision into the folder `destination`; raises PlaceError where that fails."""
    started = time.monotonic()
    if started - silent_since.get(name, -math.inf) < _ASK_AGAIN_AFTER_S:
        raise PlaceError(*_SILENT)
    from torchvision import datasets  # a second to import: only where there is something to fetch

    dataset = getattr(datasets, name)
    mirrors, unverified = _choose_mirrors(name, dataset.mirrors, dataset.resources[0][0])
    reachable = type(name, (dataset,), {"mirrors": mirrors})
    failure = _fetch(reachable, destination, started + _TRY_AGAIN_WITHIN_S) if mirrors else unverified
    if failure and unverified:  # the mirror that should have been used
        raise PlaceError(
            f"the certificate of the host could not be verified: {unverified}", _CHECK_CERTIFICATES
        )
    if failure:
        raise PlaceError(f"the download failed: {failure}", "try again later")


def _choose_mirrors(name: str, mirrors: list[str], file: str) -> tuple[list[str], str]:
    """Return the mirrors of a data set that answer and, if the certificate of another cannot be verified, why not.

    Raises PlaceError where there are neither, and remembers hosts that were silent.
    """
    asked = time.monotonic()
    answering, unverified = _answering(mirrors, file)
    if answering or unverified:
        return answering, unverified
    if time.monotonic() - asked > 1:  # a refusal costs nothing and may be asked again
        silent_since[name] = time.monotonic()
    raise PlaceError(*_SILENT)


def _fetch(dataset: type, destination: Path, deadline: float) -> str:
    """Let a torchvision data set download itself, then move its packed files to `destination`.

    An attempt that fails is repeated, and keeps the files that have arrived intact. Returns "" or, in a few words, why
    the last one failed; raises PlaceError where the files cannot be written.
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
        raise PlaceError(
            f"the cache cannot be written: {error.strerror or error}",
            f"make sure that you may write to {destination} and that the disk is not full",
        ) from error
    return problem


def _try_to_download(dataset: type, folder: str) -> str:
    network = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)
    try:
        with socket_timeout():
            dataset(folder, download=True)
    except (*network, RuntimeError) as error:  # torchvision raises RuntimeError for a wrong checksum
        return textwrap.shorten(str(error), 160, placeholder=" …")
    return ""


def _answering(mirrors: list[str], file: str) -> tuple[list[str], str]:
    """Return the mirrors that answer at all, even with an error page, in their order, and why a certificate failed.

    All are tried at once, in threads, since DNS look-ups have no timeout.
    """
    answers, unverified = {}, []

    def ask(mirror: str) -> None:
        try:
            answers[mirror] = _answers(mirror + file)
        except ssl.SSLCertVerificationError as error:
            unverified.append(getattr(error, "verify_message", "") or str(error))

    askers = [threading.Thread(target=ask, args=(mirror,), daemon=True) for mirror in mirrors]
    for asker in askers:
        asker.start()
    deadline = time.monotonic() + _NO_ANSWER_AFTER_S
    for asker in askers:
        asker.join(max(0, deadline - time.monotonic()))
    return [mirror for mirror in mirrors if answers.get(mirror)], "".join(unverified[:1])


def _answers(url: str) -> bool:
    """Return whether a host answers; raises SSLCertVerificationError where it does but may be an impostor."""
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_NO_ANSWER_AFTER_S).close()
    except urllib.error.HTTPError as answer:
        answer.close()
        return True
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise error.reason from None
        return False
    except (OSError, http.client.HTTPException):
        return False
    return True


@contextlib.contextmanager
def socket_timeout() -> Iterator[None]:
    """Let sockets opened inside give up after some seconds without data; torchvision sets no limit of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_NO_DATA_AFTER_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
