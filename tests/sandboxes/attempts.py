"""What a hostile experiment tries, one function for each row of the document's table.

It is the script of that experiment, so it needs nothing but an interpreter. Run with a plan as
JSON; writes by row what it succeeded in. It never ends, changes or fills anything that is not the
test's own, also where nothing keeps it from that.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

Plan = dict[str, Any]
Attempt = Callable[[Plan], bool]

ATTEMPTS: dict[str, Attempt] = {}
#: What a package's build tries as well.
OF_BUILDS: dict[str, Attempt] = {}

_PTRACE_SEIZE = 0x4206
#: The C library has no names for these, which have other numbers on each machine.
_CALLS = {
    "x86_64": {
        "init_module": 175,
        "add_key": 248,
        "keyctl": 250,
        "bpf": 321,
        "perf_event_open": 298,
        "userfaultfd": 323,
    },
    "aarch64": {
        "init_module": 105,
        "add_key": 217,
        "keyctl": 219,
        "bpf": 280,
        "perf_event_open": 241,
        "userfaultfd": 282,
    },
}
_USERS_KEYRING, _SEARCH = -4, 10
_ARRAY, _READ_ALL, _USER_MODE_ONLY, _SHM_RDONLY = 2, 3, 1, 0o10000
_NEWNS, _NEWUSER = 0x20000, 0x10000000
_BLANK = b"spoilt"
_MOST = 1 << 20
_libc = ctypes.CDLL(None, use_errno=True)


def attempt(row: str, *, build: bool = False) -> Callable[[Attempt], Attempt]:
    """Give a function its row."""

    def keep(act: Attempt) -> Attempt:
        ATTEMPTS[row] = act
        if build:
            OF_BUILDS[row] = act
        return act

    return keep


# ----------------------------------------------------------------------------- tools


def holds(plan: Plan, path: str) -> bool:
    """Tell whether a file can be read and holds what was planted."""
    try:
        with open(path, "rb", 0) as file:
            return "".join(plan["mark"]).encode() in file.read(_MOST)
    except OSError:
        return False


def writes(path: str) -> bool:
    """Tell whether a file can be made, also by whoever first opens its directory to himself."""
    try:
        os.chmod(os.path.dirname(path), 0o755)
    except OSError:
        pass
    try:
        with open(path, "wb") as file:
            file.write(_BLANK)
        with open(path, "rb") as file:
            return file.read() == _BLANK
    except OSError:
        return False


def lists(path: str) -> bool:
    """Tell whether something is seen in a directory."""
    try:
        return bool(os.listdir(path))
    except OSError:
        return False


def spoils(path: str) -> bool:
    """Tell whether a file can be written to, or one can be made in a directory."""
    if os.path.isdir(path):
        return writes(os.path.join(path, "spoilt"))
    try:
        with open(path, "ab") as file:
            return file.write(_BLANK) > 0
    except OSError:
        return False


def command(pid: int) -> bytes:
    """Return a process's command line."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


def others(*words: bytes) -> list[int]:
    """Return all processes that can be seen and whose command has one of these words."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [
        pid
        for pid in pids
        if pid != os.getpid() and (not words or any(word in command(pid) for word in words))
    ]


def daemons() -> list[int]:
    """Return the daemons."""
    return others(b"-m\0runner")


def neighbours() -> list[int]:
    """Return other experiments."""
    return others(b"train.py")


def may_end(pids: list[int]) -> bool:
    """Tell whether a signal reaches one of them."""
    return any(_may_signal(pid) for pid in pids)


def _may_signal(pid: int) -> bool:
    try:
        if pid == 1:  # it may be told, and does not hear it: see that
            os.kill(pid, signal.SIGKILL)
            return False
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def succeeds(result: int) -> bool:
    """Tell whether a system call did what it was asked, or found fault with what it was given."""
    return result == 0 or ctypes.get_errno() not in {errno.EPERM, errno.EACCES, errno.ENOSYS}


def call(name: str, *arguments: object) -> int:
    """Make a system call; -1 where it failed, with its ``errno``, or has no number here."""
    number = _CALLS.get(os.uname().machine, {}).get(name)
    return -1 if number is None else int(_libc.syscall(ctypes.c_long(number), *arguments))


def opens(path: str, how: int = os.O_RDONLY) -> bool:
    """Tell whether a file can be opened; nothing is done to it."""
    try:
        os.close(os.open(path, how | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def apart(act: Callable[[], bool]) -> bool:
    """Return what a process of its own finds, whatever it does to itself."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if act() else 1
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1] == 0


def linger(name: str, environ: dict[str, str]) -> None:
    """Leave a process behind: forked twice, in a session of its own, without our descriptors."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.closerange(0, 100)
            os.execve(sys.executable, [name, "-c", "import time; time.sleep(1000)"], environ)
        os._exit(0)
    os.wait()


# ----------------------------------------------------------------------------- reading


@attempt("read a credential", build=True)
def _(plan: Plan) -> bool:
    return any(holds(plan, path) for path in plan["credentials"])


@attempt("read or list what the daemon keeps", build=True)
def _(plan: Plan) -> bool:
    return any(holds(plan, path) or lists(path) for path in plan["kept"])


@attempt("change what the daemon keeps", build=True)
def _(plan: Plan) -> bool:
    return any(spoils(path) for path in plan["kept"])


@attempt("read what lies in the daemon's home")
def _(plan: Plan) -> bool:
    return holds(plan, plan["home"])


@attempt("read another experiment's files", build=True)
def _(plan: Plan) -> bool:
    return holds(plan, plan["neighbour"]) or any(
        holds(plan, f"/proc/{pid}/cwd/../modeldir/mine") for pid in others()
    )


@attempt("read another experiment's variables")
def _(plan: Plan) -> bool:
    return any(holds(plan, f"/proc/{pid}/environ") for pid in neighbours())


@attempt("read the daemon's variables", build=True)
def _(plan: Plan) -> bool:
    return any(holds(plan, f"/proc/{pid}/environ") for pid in daemons())


@attempt("see the processes of the machine", build=True)
def _(plan: Plan) -> bool:
    del plan
    return bool(daemons())


@attempt("read the kernel's memory")
def _(plan: Plan) -> bool:
    del plan
    return any(opens(path) for path in ("/proc/kcore", "/dev/mem", "/dev/kmem"))


@attempt("read the kernel's messages")
def _(plan: Plan) -> bool:
    del plan
    messages = ctypes.create_string_buffer(1 << 12)
    return opens("/dev/kmsg") or _libc.klogctl(_READ_ALL, messages, len(messages)) >= 0


@attempt("read another experiment's shared memory")
def _(plan: Plan) -> bool:
    if holds(plan, plan["memory"]):
        return True
    _libc.shmat.restype = ctypes.c_void_p
    place = _libc.shmat(plan["segment"], None, _SHM_RDONLY)
    if place in {None, ctypes.c_void_p(-1).value}:
        return False
    return "".join(plan["mark"]).encode() in ctypes.string_at(place, 64)


@attempt("read what its user keeps in the kernel's keyrings")
def _(plan: Plan) -> bool:
    name = plan["key"].encode()
    found = call("keyctl", _SEARCH, _USERS_KEYRING, b"user", name, 0)
    return found >= 0 or call("add_key", b"user", name, b"x", ctypes.c_ulong(1), _USERS_KEYRING) > 0


@attempt("read the machine's disks")
def _(plan: Plan) -> bool:
    del plan
    return any(opens(path) for path in _disks()) or _makes_a_disk()


def _disks() -> Iterator[str]:
    for folder, _, names in os.walk("/dev"):
        for name in names:
            path = os.path.join(folder, name)
            if stat.S_ISBLK(os.lstat(path).st_mode):
                yield path


def _makes_a_disk() -> bool:
    try:
        os.mknod("disk", 0o600 | stat.S_IFBLK, os.makedev(7, 0))
        return opens("disk")
    except OSError:
        return False


# ----------------------------------------------------------------------------- other processes


@attempt("end the daemon", build=True)
def _(plan: Plan) -> bool:
    del plan
    return may_end(daemons())


@attempt("end its supervisor", build=True)
def _(plan: Plan) -> bool:
    del plan
    return may_end(others(b"supervisor/main.py"))


@attempt("end another experiment", build=True)
def _(plan: Plan) -> bool:
    del plan
    return may_end(neighbours())


@attempt("trace another process")
def _(plan: Plan) -> bool:
    del plan
    seen = daemons() + neighbours() + others(b"supervisor/main.py")
    return any(apart(lambda: _libc.ptrace(_PTRACE_SEIZE, pid, 0, 0) == 0) for pid in seen)  # noqa: B023 - called at once


@attempt("enter another process's namespaces")
def _(plan: Plan) -> bool:
    del plan
    return any(
        apart(lambda: _enters(f"/proc/{pid}/ns/{kind}"))  # noqa: B023 - called at once
        for pid in others()
        for kind in ("mnt", "pid", "user")
    )


def _enters(path: str) -> bool:
    if os.readlink(path) == os.readlink(f"/proc/self/ns/{os.path.basename(path)}"):
        return False
    return bool(_libc.setns(os.open(path, os.O_RDONLY), 0) == 0)


@attempt("command the daemon by its socket", build=True)
def _(plan: Plan) -> bool:
    places = [plan["control"], *(f"/proc/{pid}/root{plan['control']}" for pid in others())]
    return any(_connects(place) for place in places)


def _connects(place: str) -> bool:
    with socket.socket(socket.AF_UNIX) as control:
        try:
            control.connect(place)
        except OSError:
            return False
    return True


# ----------------------------------------------------------------------------- the machine


@attempt("reach the machine's network")
def _(plan: Plan) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", plan["port"]), 5):
            return True
    except OSError:
        return False


@attempt("reach the machine's services by sockets without a file")
def _(plan: Plan) -> bool:
    return _connects("\0" + plan["nameless"])


@attempt("change the kernel's settings")
def _(plan: Plan) -> bool:
    del plan
    settings = (
        *("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sysrq-trigger"),
        *("/proc/sys/vm/overcommit_memory", "/proc/sys/vm/drop_caches", "/sys/power/state"),
        *("/proc/sys/fs/file-max", "/proc/irq/default_smp_affinity", "/sys/kernel/uevent_helper"),
    )
    return opens("/dev/kmsg", os.O_WRONLY) or any(opens(path, os.O_WRONLY) for path in settings)


@attempt("raise its own bounds, or leave them")
def _(plan: Plan) -> bool:
    del plan
    bounds = {"memory.limit_in_bytes", "memory.max", "pids.max", "cpu.max", "cpu.cfs_quota_us"}
    return any(
        opens(os.path.join(folder, name), os.O_WRONLY)
        for folder, _, names in os.walk("/sys/fs/cgroup")
        for name in names
        if name in bounds | {"cgroup.procs", "tasks", "release_agent"}
    )


@attempt("call what has led into kernels (bpf, perf_event_open, userfaultfd)")
def _(plan: Plan) -> bool:
    del plan
    # An array of one number; cycles of ourselves, in our own program alone.
    array = (ctypes.c_uint * 16)(_ARRAY, 4, 4, 1)
    cycles = (ctypes.c_uint64 * 16)(112 << 32, 0, 0, 0, 0, 0b1100000)
    found = (
        call("bpf", 0, array, 64),
        call("perf_event_open", cycles, 0, -1, -1, ctypes.c_ulong(0)),
        call("userfaultfd", os.O_CLOEXEC | _USER_MODE_ONLY),
    )
    for descriptor in found:
        if descriptor >= 0:
            os.close(descriptor)
    return any(descriptor >= 0 for descriptor in found)


@attempt("mount something")
def _(plan: Plan) -> bool:
    del plan
    return bool(_libc.mount(b"none", b"/proc", b"tmpfs", 0, None) == 0)


@attempt("load a kernel module")
def _(plan: Plan) -> bool:
    del plan
    ctypes.set_errno(errno.ENOSYS)
    return succeeds(call("init_module", b"no module", ctypes.c_ulong(9), b""))


@attempt("gain powers by setuid programs")
def _(plan: Plan) -> bool:
    del plan
    with open("/proc/self/status") as file:
        return "NoNewPrivs:\t1" not in file.read()


@attempt("do any of this as root of a namespace of its own")
def _(plan: Plan) -> bool:
    return apart(lambda: _as_root_of_its_own(plan))


def _as_root_of_its_own(plan: Plan) -> bool:
    uid, gid = os.geteuid(), os.getegid()
    if _libc.unshare(_NEWUSER | _NEWNS) != 0:
        return False
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    with open("/proc/self/mounts", "rb") as file:
        mounted = [line.split()[1] for line in file.read().splitlines()]
    for place in reversed(mounted):
        if place != b"/":
            _libc.umount2(place, 2)
    again = (
        *("read a credential", "read another experiment's files", "load a kernel module"),
        *("command the daemon by its socket", "change the kernel's settings"),
        *("read the kernel's messages", "raise its own bounds, or leave them"),
    )
    return any(ATTEMPTS[row](plan) for row in again)


# ----------------------------------------------------------------------------- writing


@attempt("write into the shared environment")
def _(plan: Plan) -> bool:
    del plan
    shared = next((path for path in sys.path if "/environments/" in path), "/none/none")
    return writes(os.path.join(shared, "spoilt.py"))


@attempt("write into the caches", build=True)
def _(plan: Plan) -> bool:
    return any(writes(os.path.join(place, "spoilt")) for place in plan["caches"])


@attempt("write into another experiment's files", build=True)
def _(plan: Plan) -> bool:
    return writes(plan["neighbour"] + ".spoilt") or any(
        writes(f"/proc/{pid}/cwd/../modeldir/mine.spoilt") for pid in others()
    )


# ----------------------------------------------------------------------------- whole experiments


def try_all(plan: Plan, attempts: dict[str, Attempt]) -> dict[str, bool]:
    """Try one after the other, and leave something behind."""
    found = {row: act(plan) for row, act in attempts.items()}
    writes(plan["left"])
    for environ in ({**os.environ}, {}):
        linger(plan["lingers"], environ)
    give_up = time.monotonic() + 5
    while len(others(plan["lingers"].encode() + b"\0")) < 2 and time.monotonic() < give_up:
        time.sleep(0.005)
    return found


def smuggle(plan: Plan) -> None:
    """Put links, pipes and devices in the place of files, and change them while they are read."""
    secrets = [*plan["credentials"], plan["neighbour"], "/etc/shadow"]
    for number, secret in enumerate(secrets):
        for folder in ("modeldir", "tb", "_metadata"):
            os.makedirs(f"../{folder}", exist_ok=True)
            os.symlink(secret, f"../{folder}/link-{number}.json")
            os.symlink(os.path.dirname(secret), f"../{folder}/folder-{number}")
            try:
                os.link(secret, f"../{folder}/hard-{number}.json")
            except OSError:
                pass
    os.mkfifo("../modeldir/pipe")
    os.mkfifo("../retval/retval")
    with socket.socket(socket.AF_UNIX) as gate:
        gate.bind("../tb/gate")
    try:
        os.mknod("../modeldir/device", 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    except OSError:
        pass
    _swap_for(1.6, secrets)


def _swap_for(seconds: float, secrets: list[str]) -> None:
    """Replace files and directories by links and back, as fast as can be."""
    print("swapping", flush=True)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for number, secret in enumerate(secrets):
            _exchange(f"../modeldir/swapped-{number}", secret)
            _exchange(f"../modeldir/deep/{os.path.basename(secret)}", secret)
            _exchange("../_metrics", os.path.dirname(secret))


def _exchange(place: str, secret: str) -> None:
    try:
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, "w") as file:
            file.write("harmless")
        os.symlink(secret, place + "~")
        os.replace(place + "~", place)
        os.unlink(place)
    except OSError:
        try:  # a directory of which we may not be the owner
            os.rename(place, place + "-aside")
            os.symlink(secret, place)
            os.unlink(place)
            os.rename(place + "-aside", place)
        except OSError:
            pass


def end_everybody(plan: Plan) -> None:
    """Kill whatever may be killed, but for ourselves."""
    del plan
    try:
        os.kill(-1, signal.SIGKILL)
    except OSError:
        pass


def be_orphaned(plan: Plan) -> None:
    """Leave something that carries no mark, then wait for the supervisor's end, and for ours."""
    linger(plan["orphan"], {})
    print("orphan", flush=True)
    time.sleep(1000)


def take_memory(plan: Plan) -> None:
    """Take three times what was asked for, in a child: the whole is bounded, not each process."""
    del plan
    if os.fork() == 0:
        held = []
        for _ in range(48):
            held.append(bytearray(b"x" * (4 << 20)))
            time.sleep(0.01)
        time.sleep(2)
        os._exit(len(held) == 0)
    if os.wait()[1] != 0:
        sys.exit(1)


def take_processes(plan: Plan) -> None:
    """Start more processes than there may be."""
    for _ in range(plan["processes"]):
        if os.fork() == 0:
            time.sleep(15)
            os._exit(0)
    time.sleep(10)  # whoever measures looks each second or two


def take_disk(plan: Plan) -> None:
    """Write three times what was asked for, and take it back before anybody stores it."""
    del plan
    with open("../modeldir/large", "wb") as file:
        for _ in range(192):
            file.write(os.urandom(1 << 20))
    time.sleep(4)
    os.unlink("../modeldir/large")


def main() -> None:
    """Do what the plan says."""
    plan: Plan = json.loads(sys.argv[1])
    if plan["act"] == "try":
        with open("../modeldir/seen", "w") as file:
            json.dump(try_all(plan, ATTEMPTS), file)
        return
    acts = {
        "smuggle": smuggle,
        "end everybody": end_everybody,
        "be orphaned": be_orphaned,
        "take memory": take_memory,
        "take processes": take_processes,
        "take disk": take_disk,
    }
    acts[plan["act"]](plan)


if __name__ == "__main__":
    main()
