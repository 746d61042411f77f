"""Shut foreign code in: limits on every system that has them, and on Linux a view of the machine of its own.

The view is made of namespaces, as containers are: no network, no other processes, and of the files only Python, the
course and its data, read-only, with an empty folder in memory to work in. A user needs no rights for it, unless the
system's administrator has forbidden it; `can_be_shut_in` finds out.
"""

import contextlib
import ctypes
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

with contextlib.suppress(ImportError):  # on Windows, where nothing that was handed in is run
    import fcntl
    import resource

_NEW_MOUNTS, _NEW_HOSTNAME, _NEW_IPC, _NEW_USER, _NEW_PROCESSES, _NEW_NETWORK = (
    0x00020000,
    0x04000000,
    0x08000000,
    0x10000000,
    0x20000000,
    0x40000000,
)  # fmt: skip - CLONE_NEW* of sched.h
_READ_ONLY, _NO_SUID, _NO_DEVICES, _NO_EXECUTION, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = (
    1,
    2,
    4,
    8,
    32,
    4096,
    16384,
    1 << 18,
)  # fmt: skip - MS_* of sys/mount.h
_DETACH = 2  # of umount2
_DIE_WITH_PARENT, _DUMPABLE, _DROP_BOUND, _NO_NEW_PRIVILEGES = 1, 4, 24, 38  # of prctl
_NOBODY = 65534
_SET_INTERFACE_FLAGS, _UP = 0x8914, 1  # of netdevice(7)
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}  # numbers of the system call
_CAPABILITIES_V3 = 0x20080522
_SYSTEM = (
    *("/usr", "/lib", "/lib64", "/bin", "/etc/fonts", "/etc/localtime", "/etc/ssl"),
    "/proc/cpuinfo",  # without it PyTorch takes the processor for an old one, and computes other last digits
)
WORK = "/handed_in"  # where code that is shut in works
_SHARED = "dev/shm"  # where processes share memory, such as those of a DataLoader
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")


@dataclass(frozen=True)
class Limits:
    """What foreign code may use: seconds of one processor, bytes of memory and processes beyond what is there already,
    bytes of a file.
    """

    seconds: int
    memory: int = 3 * 2**30
    file: int = 64 * 2**20
    processes: int = 512


def limit(limits: Limits) -> None:
    """Set limits on this process and on those that it starts. The one on processes binds everybody but root."""
    _set(resource.RLIMIT_CPU, limits.seconds)
    _set(resource.RLIMIT_FSIZE, limits.file)
    _set(resource.RLIMIT_CORE, 0)
    _set(resource.RLIMIT_DATA, _data_in_use() + limits.memory)
    if running := _running():
        _set(resource.RLIMIT_NPROC, running + limits.processes)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # an OSError in the code that writes, not its end


def _set(kind: int, value: int) -> None:
    most = resource.getrlimit(kind)[1]
    allowed = value if most == resource.RLIM_INFINITY else min(value, most)
    with contextlib.suppress(ValueError, OSError):  # macOS refuses some
        resource.setrlimit(kind, (allowed, allowed))


def _data_in_use() -> int:
    """Return the bytes of memory that this process could write to; where the system doesn't tell, those it has."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return 1024 * int(status.split("VmData:")[1].split()[0])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _running() -> int:
    """Return how many threads this machine runs, since all of a user's count; 0 where the system doesn't tell."""
    try:
        return int(Path("/proc/loadavg").read_text(encoding="ascii").split()[3].split("/")[1])
    except OSError:
        return 0


def shut_in(folder: Path, readable: Iterable[Path], *, size: int) -> None:
    """Leave this process no network and of all files those below `readable`, and go on in a child; Linux only.

    `folder`, an empty one, becomes the root of what the child sees, with `size` bytes of memory for files of its own.
    The parent waits and ends as the child does. If root calls, the child is nobody, provided that nobody may read what
    it needs. Raises OSError where the system doesn't allow it.
    """
    libc, readable = ctypes.CDLL(None, use_errno=True), list(readable)
    becomes_nobody = _enter_namespaces(libc, readable)
    _mount(libc, "none", "/", "", _RECURSIVE | _PRIVATE)
    _mount(libc, "tmpfs", folder, "tmpfs", _NO_SUID | _NO_DEVICES, f"size={size},mode=755")
    for path in [*map(Path, _SYSTEM), *readable]:
        _show(libc, path, folder)
    for name in _DEVICES:
        target = _inside(folder, Path(name))
        target.parent.mkdir(exist_ok=True)
        target.touch()
        _mount(libc, name, target, "", _BIND)
    _name_and_start_loopback(folder)
    for name in ("tmp", WORK[1:], "old", "proc", _SHARED):
        (folder / name).mkdir(exist_ok=True)
        if becomes_nobody:
            os.chown(folder / name, _NOBODY, _NOBODY)
    libc.syscall.argtypes = [ctypes.c_long, ctypes.c_char_p, ctypes.c_char_p]
    _called(libc.syscall, _PIVOT_ROOT[os.uname().machine], os.fsencode(folder), os.fsencode(folder / "old"))
    os.chdir(WORK)
    _called(libc.umount2, b"/old", _DETACH)
    if child := os.fork():
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    with contextlib.suppress(OSError):  # containers forbid it; what reads it goes on without
        _mount(libc, "proc", "/proc", "proc", _NO_SUID | _NO_DEVICES | _NO_EXECUTION)
    _give_up_rights(libc, becomes_nobody=becomes_nobody)
    _called(libc.prctl, _DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)


def _enter_namespaces(libc: ctypes.CDLL, readable: list[Path]) -> bool:
    """Enter new namespaces as the user one is; return whether one may become nobody there."""
    user, group = os.getuid(), os.getgid()
    kinds = (_NEW_USER, _NEW_MOUNTS, _NEW_HOSTNAME, _NEW_IPC, _NEW_PROCESSES, _NEW_NETWORK)
    if not user and all(map(_nobody_may_read, readable)):
        with _mapped_from_outside() as mapped:
            _called(libc.unshare, sum(kinds))
            if mapped():
                return True
    else:
        _called(libc.unshare, sum(kinds))
    _map(os.getpid(), "setgroups", "deny")
    _map(os.getpid(), "uid_map", f"{user} {user} 1")
    _map(os.getpid(), "gid_map", f"{group} {group} 1")
    return False


def _nobody_may_read(path: Path) -> bool:
    """Return whether a folder and what lies in it are open to everybody; one that isn't there does no harm."""
    for one in (path, *(path.iterdir() if path.is_dir() else ())):
        needed = 5 if one.is_dir() else 4  # to read, and to go into
        if one.exists() and one.stat().st_mode & needed != needed:
            return False
    return True


@contextlib.contextmanager
def _mapped_from_outside() -> Iterator[Callable[[], bool]]:
    """Fork a process that stays outside and lets this one be root or nobody, when asked; the answer is if it could."""
    process, (listen, ask) = os.getpid(), os.pipe()
    helper = os.fork()
    if not helper:
        try:
            os.close(ask)
            os.read(listen, 1)
            for name in ("uid_map", "gid_map"):
                _map(process, name, f"0 0 1\n{_NOBODY} {_NOBODY} 1")
            os._exit(0)
        finally:
            os._exit(1)

    def mapped() -> bool:
        os.write(ask, b"!")
        return os.waitpid(helper, 0)[1] == 0

    try:
        yield mapped
    finally:
        os.close(ask)
        os.close(listen)


def _name_and_start_loopback(root: Path) -> None:
    """Let what runs here find itself, under the name of localhost, as torchrun does; there is nobody else to find."""
    request = struct.pack("16sh", b"lo", _UP)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket, contextlib.suppress(OSError):
        fcntl.ioctl(any_socket, _SET_INTERFACE_FLAGS, request)
    with contextlib.suppress(OSError):
        socket.sethostname("localhost")
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc" / "hosts").write_text("127.0.0.1 localhost\n", encoding="ascii")


def _map(process: int, name: str, text: str) -> None:
    Path(f"/proc/{process}/{name}").write_text(text, encoding="ascii")


def can_be_shut_in(folder: Path, readable: list[Path]) -> bool:
    """Return whether this system lets `shut_in` work, tried in a child."""
    if not sys.platform.startswith("linux") or os.uname().machine not in _PIVOT_ROOT:
        return False
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    try:
        shut_in(folder, readable, size=2**20)
        os._exit(0)
    except BaseException:
        os._exit(1)


def _show(libc: ctypes.CDLL, path: Path, root: Path) -> None:
    """Let a path be seen below a root, as it is but read-only; one that is shown with a folder above is passed over."""
    target = _inside(root, path)
    if not path.exists() or target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        target.symlink_to(os.readlink(path))
        return
    target.mkdir() if path.is_dir() else target.touch()
    _mount(libc, path, target, "", _BIND | _RECURSIVE)
    kept = os.statvfs(target).f_flag & (_NO_SUID | _NO_DEVICES | _NO_EXECUTION)  # the system insists on these
    _mount(libc, "none", target, "", _BIND | _REMOUNT | _READ_ONLY | kept)


def _inside(root: Path, path: Path) -> Path:
    return root.joinpath(*path.parts[1:])


def _mount(
    libc: ctypes.CDLL, source: object, target: object, kind: str, flags: int, options: str = ""
) -> None:
    libc.mount.argtypes = [ctypes.c_char_p] * 3 + [ctypes.c_ulong, ctypes.c_char_p]
    _called(libc.mount, os.fsencode(source), os.fsencode(target), kind.encode(), flags, options.encode())


def _give_up_rights(libc: ctypes.CDLL, *, becomes_nobody: bool) -> None:
    """Drop every right over what was set up, for this process and for what it starts."""
    for capability in range(64):
        libc.prctl(_DROP_BOUND, capability, 0, 0, 0)
    if becomes_nobody:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
        _called(libc.prctl, _DUMPABLE, 1, 0, 0, 0)  # or it can't read its own /proc
    _called(libc.prctl, _NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    header, nothing = (ctypes.c_uint32 * 2)(_CAPABILITIES_V3, 0), (ctypes.c_uint32 * 6)()
    _called(libc.capset, header, nothing)


def _called(function: object, *arguments: object) -> None:
    if function(*arguments) == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
