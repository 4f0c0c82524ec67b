"""The launcher: confines itself, then becomes the media tool (``python -I -S launch.py SPEC -- TOOL ARG...``).

A launcher rather than ``preexec_fn``: code between fork and exec of a large, threaded parent may deadlock on its locks,
and forking it copies its page tables; this starts in some 25 ms and leaves one process, the tool itself.
Run as a file with ``-I -S``, it imports the standard library only and knows nothing of Eisbach.

SPEC is JSON: ``{"parent", "read", "write", "execute": [path], "limits": {name: number}, "require": [[layer]]}``.
Layers, each applied where the kernel has it: ``network`` (own, empty network namespace), ``files`` (Landlock),
``calls`` (seccomp: threads but no processes, no sockets, no io_uring, no ptrace, no namespaces, no mounts).
``require`` is a list of groups of layers: when of one group none can be had, the launcher ends with code 126 and the
reasons on stderr, and the tool never starts.

Sources: landlock(7), seccomp(2), unshare(2), prctl(2); numbers from the kernel's headers (uapi/linux).
"""

import ctypes
import errno
import json
import os
import platform
import resource
import signal
import struct
import sys

__all__ = ["LAYERS", "confine", "landlock_version"]

LAYERS = ("network", "files", "calls")

_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _PR_SET_DUMPABLE = 1, 22, 38, 4
_CLONE_NEWUSER, _CLONE_NEWNET, _CLONE_NEWIPC = 0x10000000, 0x40000000, 0x08000000
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
# uapi/linux/landlock.h: rights to files, by ABI version; REFER from 2, TRUNCATE from 3, IOCTL_DEV from 5.
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _TRUNCATE = 1, 2, 4, 8, 1 << 14
_FILES_BY_VERSION = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_FILES_NEWEST = (1 << 16) - 1
_FILE_ONLY = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | 1 << 15
_MAKE = 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 13  # remove dir, remove file, make dir, make file, refer
# Audit architecture; numbers refused: socket, socketpair, ptrace, unshare, setns, mount, io_uring_setup, bpf,
# perf_event_open, process_vm_readv, process_vm_writev (and fork, vfork); number of clone.
_CALLS = {
    "x86_64": (0xC000003E, (41, 53, 101, 272, 308, 165, 425, 321, 298, 310, 311, 57, 58), 56),
    "aarch64": (0xC00000B7, (198, 199, 117, 97, 268, 40, 425, 280, 241, 270, 271), 220),
}
_CLONE3, _CLONE_THREAD = 435, 0x10000
_libc = ctypes.CDLL(None, use_errno=True)


class LayerMissing(Exception):
    """The kernel does not offer a layer; the message says why."""


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise LayerMissing(f"{what}: {os.strerror(number)}")
    return result


def _prctl(option: int, value: int, third: object = 0) -> int:
    # variadic in C: every argument as a full word, or the upper half is whatever the register held
    return int(_libc.prctl(option, ctypes.c_ulong(value), third or ctypes.c_ulong(0), ctypes.c_ulong(0), 0))


def landlock_version() -> int:
    """The kernel's Landlock ABI, 0 where there is none."""
    if sys.platform != "linux":
        return 0
    return max(0, int(_libc.syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(1))))


def _isolate_network() -> None:
    if sys.platform != "linux":
        raise LayerMissing(f"network namespaces are Linux's; this is {sys.platform}")
    _checked(_libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET | _CLONE_NEWIPC), "unshare(user, network)")


def _confine_files(read: list[str], write: list[str], execute: list[str]) -> None:
    version = landlock_version()
    if version < 1:
        raise LayerMissing("the kernel has no Landlock (Linux 5.13 and newer, enabled at boot)")
    handled = _FILES_BY_VERSION.get(version, _FILES_NEWEST)
    # From version 4 TCP (bind, connect), from version 6 signals and abstract sockets to outside are handled too:
    # with no rule that allows any, all are refused.
    attributes = struct.pack("=QQQ", handled, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    size = {1: 8, 2: 8, 3: 8, 4: 16, 5: 16}.get(version, 24)
    ruleset = _checked(
        _libc.syscall(_LANDLOCK_CREATE, attributes, ctypes.c_size_t(size), ctypes.c_uint32(0)), "landlock ruleset"
    )
    reading = _READ_FILE | _READ_DIR
    rights = [(p, reading) for p in read]
    rights += [(p, reading | _WRITE_FILE | _TRUNCATE | _MAKE) for p in write]
    rights += [(p, _READ_FILE | _EXECUTE) for p in execute]
    for path, allowed in rights:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        here = handled if os.path.isdir(path) else handled & _FILE_ONLY  # noqa: PTH112 - pathlib costs 10 ms to import
        rule = struct.pack("=Qi", allowed & here, descriptor)
        result = _libc.syscall(_LANDLOCK_ADD, ruleset, ctypes.c_int(1), rule, ctypes.c_uint32(0))
        _checked(result, f"landlock rule for {path}")
        os.close(descriptor)
    _checked(_libc.syscall(_LANDLOCK_RESTRICT, ruleset, ctypes.c_uint32(0)), "landlock restrict")
    os.close(ruleset)


def _forbid_calls() -> None:
    if sys.platform != "linux" or platform.machine() not in _CALLS:
        raise LayerMissing(f"no list of system calls for {sys.platform} {platform.machine()}")
    architecture, refused, clone = _CALLS[platform.machine()]
    load, equal, at_least, has_bit, give = 0x20, 0x15, 0x35, 0x45, 0x06
    # Classic BPF over struct seccomp_data (number at 0, architecture at 4, first argument at 16) with named targets.
    # A call by another architecture's numbers dies; a refused one gets EPERM; x86-64's second numbering (x32, bit 30)
    # is refused as a whole; clone may make threads, not processes, and clone3, whose flags lie in memory, is not there.
    lines: list[tuple[int, str, str, int]] = [
        (load, "", "", 4),
        (equal, "", "kill", architecture),
        (load, "", "", 0),
        (at_least, "refuse", "", 0x40000000),
        *((equal, "refuse", "", number) for number in refused),
        (equal, "absent", "", _CLONE3),
        (equal, "", "allow", clone),
        (load, "", "", 16),
        (has_bit, "allow", "refuse", _CLONE_THREAD),
    ]
    ends = {
        "allow": 0x7FFF0000,
        "kill": 0x80000000,
        "refuse": 0x00050000 | errno.EPERM,
        "absent": 0x00050000 | errno.ENOSYS,
    }
    place = {name: len(lines) + number for number, name in enumerate(ends)}
    program = [
        (code, place[yes] - at - 1 if yes else 0, place[no] - at - 1 if no else 0, value)
        for at, (code, yes, no, value) in enumerate(lines)
    ]
    program += [(give, 0, 0, value) for value in ends.values()]
    body = b"".join(struct.pack("=HBBI", *line) for line in program)
    buffer = ctypes.create_string_buffer(body, len(body))
    head = struct.pack("@HP", len(program), ctypes.addressof(buffer))
    _checked(_prctl(_PR_SET_SECCOMP, 2, ctypes.c_char_p(head)), "seccomp filter")


def _limit(limits: dict[str, int], *, namespaced: bool) -> None:
    for name, value in {"RLIMIT_CORE": 0, **limits}.items():
        if name == "RLIMIT_NPROC" and not namespaced:
            continue  # would count every process of this user, ours among them
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (bound, bound))


def confine(spec: dict[str, object]) -> dict[str, str]:
    """Apply every layer there is; the layers that could not be had, with the reason."""
    missing: dict[str, str] = {}
    if sys.platform == "linux":
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != spec["parent"]:  # it died before the line above: nobody would ever end us
            sys.exit(125)
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    paths = [list(map(str, spec[kind])) for kind in ("read", "write", "execute")]  # type: ignore[call-overload]
    for layer, apply in (
        ("network", _isolate_network),
        ("files", lambda: _confine_files(*paths)),
        ("calls", _forbid_calls),
    ):
        try:
            apply()
        except LayerMissing as error:
            missing[layer] = str(error)
    _limit(spec["limits"], namespaced="network" not in missing)  # type: ignore[arg-type]
    return missing


def main(arguments: list[str]) -> None:
    """Never returns: becomes the tool, or exits with 125 to 127."""
    spec, dashes, command = json.loads(arguments[0]), arguments[1], arguments[2:]
    assert dashes == "--"
    try:
        missing = confine(spec)
        if any(set(group) <= set(missing) for group in spec["require"]):
            sys.stderr.write(f"sandbox: {missing}\n")
            sys.exit(126)
        os.execve(command[0], command, {})  # noqa: S606 - becoming the tool is what this program is for
    except OSError as error:
        sys.stderr.write(f"sandbox: {command[0]}: {error}\n")
        sys.exit(127)


if __name__ == "__main__":
    if sys.argv[1] == "--probe":
        json.dump(confine(json.loads(sys.argv[2])), sys.stdout)
    else:
        main(sys.argv[1:])
