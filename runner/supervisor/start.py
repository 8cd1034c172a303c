"""Starts the experiment's first process: from fork to exec, with an error that names its step."""

from __future__ import annotations

import errno
import os
import resource

from runner.supervisor import fence, remote, syscalls
from runner.supervisor.processes import MARK

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from typing import Never

    from runner.supervisor.enclosure import Enclosure
    from runner.supervisor.launch import Launch
    from runner.supervisor.walls import Walls

    _Act = tuple[str, Callable[[], None]]
else:
    import _signal as signal  # the module around it imports enum: 8 ms

START_FAILED = "start-failed"
SANDBOX_UNAVAILABLE = "sandbox-unavailable"

#: The kernel takes memory from experiments before it takes it from the daemon and its neighbours.
_OOM_SCORE = 500
_EXPERIMENT_UMASK = 0o022
_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR})
#: The system gives this user no more processes, files or memory: the command is none the worse.
_SHORT = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})

#: Steps that can fail: the reason for the record, and how its sentence begins.
_STEPS = {
    "bounds": (SANDBOX_UNAVAILABLE, "the run cannot enter its control groups"),
    "files": (START_FAILED, "the input and output of the process cannot be set up"),
    "namespace": (
        SANDBOX_UNAVAILABLE,
        "the run cannot have mounts of its own (it takes CAP_SYS_ADMIN or user namespaces)",
    ),
    "overlays": (
        SANDBOX_UNAVAILABLE,
        "kept artifacts cannot be attached by overlay (start the daemon anew: it tries first)",
    ),
    "hidden": (SANDBOX_UNAVAILABLE, "credentials and records cannot be hidden from the run"),
    "mounts": (
        SANDBOX_UNAVAILABLE,
        "directories cannot be made read-only for the run (it takes root and CAP_SYS_ADMIN)",
    ),
    "binds": (SANDBOX_UNAVAILABLE, "what --bind names cannot be shown to the run"),
    "processes": (
        SANDBOX_UNAVAILABLE,
        "the run cannot have processes of its own (start the daemon anew: it tries first)",
    ),
    "network": (
        SANDBOX_UNAVAILABLE,
        "the run cannot have a network of its own (it takes CAP_SYS_ADMIN or user namespaces)",
    ),
    "walls": (SANDBOX_UNAVAILABLE, "{builder} cannot put up its walls"),
    "user": (SANDBOX_UNAVAILABLE, "the process cannot become the user it is to run as"),
    "privileges": (SANDBOX_UNAVAILABLE, "privileges cannot be given up"),
    "cwd": (START_FAILED, "the working directory {cwd} cannot be entered"),
    "exec": (START_FAILED, "{program} cannot be executed"),
}


class StartFailed(Exception):
    """The experiment's process could not be started."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text


def start(launch: Launch, output: int, join: Callable[[], None]) -> tuple[int, int]:
    """Fork; the child writes to ``output``. Returns its pid, and what ``check`` reads.

    Every process of the run begins with ``join``: it enters what bounds them all.
    """
    told, tell = os.pipe()
    parent = os.getpid()
    walls, enclosure = _new_walls(launch), _new_enclosure(launch)
    if walls is not None:
        walls.builder = os.fork()
        if walls.builder == 0:
            _child([("bounds", join), *_acts_of_walls(launch, walls, parent)], tell)
    pid = os.fork()
    if pid == 0:
        around = _mounts(launch)
        image_env = launch.env if launch.in_image else None
        if walls is not None:
            around = [("walls", lambda: walls.walk_in(tell, parent, image_env))]
        elif enclosure is not None:
            around += [("processes", lambda: enclosure.walk_in(tell, parent))]
        _child([("bounds", join), *_acts(launch, output, parent, around)], tell)
    for one in (walls, enclosure):
        if one is not None:
            one.close()
    os.close(tell)
    return pid, told


def _new_walls(launch: Launch) -> Walls | None:
    if not launch.walls:
        return None
    from runner.supervisor.walls import Walls  # noqa: PLC0415 - for runs that have some alone

    return Walls()


def _new_enclosure(launch: Launch) -> Enclosure | None:
    if launch.walls or not launch.own_processes:
        return None
    from runner.supervisor.enclosure import Enclosure  # noqa: PLC0415 - likewise

    return Enclosure()


def check(launch: Launch, told: int) -> None:
    """Wait until the child runs the experiment. Raises StartFailed when it could not."""
    with open(told, "rb", 0) as pipe:
        answer = pipe.read().decode()
    if not answer:
        return
    # Who walks in complains, too, when the walls do not stand: the first one knows why.
    step, code, words = answer.splitlines()[0].split(" ", 2)
    reason, text = _STEPS[step]
    if int(code) in _SHORT:
        reason = SANDBOX_UNAVAILABLE
    text = text.format(
        cwd=_shown(launch.cwd), program=_shown(launch.argv[0]), builder=_builder(launch)
    )
    raise StartFailed(reason, f"{text}: {words or os.strerror(int(code))}")


def _builder(launch: Launch) -> str:
    """Return the name of what puts up the walls."""
    name = os.path.basename(launch.walls[0]).decode() if launch.walls else ""
    return "bubblewrap" if name == "bwrap" else name


def _shown(path: bytes) -> str:
    return repr(path.decode(errors="backslashreplace"))


def _child(acts: list[_Act], tell: int) -> Never:
    step = "files"
    try:
        for step, act in acts:  # noqa: B007 - told when act fails
            act()
    except Exception as error:  # noqa: BLE001 - ValueError is a NUL in an argument; none returns
        code = getattr(error, "errno", None) or errno.EINVAL
        os.write(tell, f"{step} {code} {getattr(error, 'words', '')}\n".encode())
    finally:
        os._exit(127)


def _acts(launch: Launch, output: int, parent: int, around: list[_Act]) -> list[_Act]:
    return [
        ("files", lambda: _streams(output)),
        ("files", _fresh_process),
        *around,
        ("user", lambda: _bound_user(launch)),
        ("user", lambda: _become(launch.identity)),
        ("privileges", lambda: _privileges(launch, parent)),
        ("cwd", lambda: os.chdir(launch.cwd)),
        ("exec", lambda: _execute(launch)),
    ]


def _acts_of_walls(launch: Launch, walls: Walls, parent: int) -> list[_Act]:
    # Found by its mark, like every process of the run.
    env = {name: launch.env[name] for name in (MARK,) if name in launch.env} | launch.walls_env
    return [
        ("files", _fresh_process),
        *_mounts(launch),
        ("walls", lambda: walls.become(launch.walls, env, parent, in_image=launch.in_image)),
    ]


def _streams(output: int) -> None:
    # All other descriptors close at the exec: Python opens none that would not.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)


def _fresh_process() -> None:
    os.setsid()
    os.umask(_EXPERIMENT_UMASK)
    signal.set_wakeup_fd(-1)
    for signum in range(1, signal.NSIG):
        if signum not in {signal.SIGKILL, signal.SIGSTOP}:
            _default(signum)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    _offer_to_oom_killer()


def _default(signum: int) -> None:
    # Python ignores SIGPIPE, a daemon under nohup SIGHUP: an exec would hand both on.
    try:
        signal.signal(signum, signal.SIG_DFL)
    except (OSError, ValueError):
        pass  # the C library keeps two of the real-time signals for itself


def _offer_to_oom_killer() -> None:
    try:
        with open("/proc/self/oom_score_adj", "r+b", 0) as file:
            if int(file.read()) < _OOM_SCORE:
                file.write(b"%d" % _OOM_SCORE)
    except OSError:
        pass  # some containers mount /proc read-only; it is a preference, not a promise


def _mounts(launch: Launch) -> list[_Act]:
    wanted = (launch.overlays, launch.hidden, launch.readonly_binds, launch.binds)
    if not (any(wanted) or launch.own_processes or launch.own_network):
        return []
    sources = list[int]()
    return [
        ("namespace", lambda: _own_mounts(in_user_namespace=launch.user_namespace)),
        *([("network", syscalls.leave_network)] if launch.own_network else []),
        *([("namespace", syscalls.name_ourselves)] if launch.nameless else []),
        ("overlays", lambda: _overlays(launch)),
        # Before anything is hidden: it may lie there.
        ("binds", lambda: sources.extend(syscalls.open_place(one[0]) for one in launch.binds)),
        # Only now: what is hidden may hold what was laid over.
        ("hidden", lambda: _hide(launch)),
        ("binds", lambda: _bind(launch, sources)),
        ("mounts", lambda: _each(syscalls.bind_readonly, launch.readonly_binds)),
    ]


def _own_mounts(*, in_user_namespace: bool) -> None:
    if in_user_namespace:
        syscalls.leave_user_namespace()
    syscalls.leave_mount_namespace()


def _overlays(launch: Launch) -> None:
    for target, lower, upper, work in launch.overlays:
        if launch.identity is not None and not launch.user_namespace:
            _as_its_own(lower, launch.identity)
        syscalls.mount_overlay(target, lower, upper, work, privileged=not launch.user_namespace)


def _as_its_own(lower: bytes, identity: tuple[int, int]) -> None:
    if os.stat(lower).st_uid == identity[0]:
        return
    from runner.supervisor import mapped  # noqa: PLC0415 - where runs are many users alone

    mapped.show_as(lower, identity)


def _hide(launch: Launch) -> None:
    for path in remote.answering(launch.hidden):
        syscalls.hide(path, launch.visible)


def _bind(launch: Launch, sources: list[int]) -> None:
    for source, (_, target, writable) in zip(sources, launch.binds, strict=True):
        syscalls.bind(source, target, writable=writable)
        os.close(source)


def _each(act: Callable[[bytes], None], paths: list[bytes]) -> None:
    for path in paths:
        act(path)


def _bound_user(launch: Launch) -> None:
    pids = launch.bounds[2]
    if launch.enforce and launch.own_user and pids:
        resource.setrlimit(resource.RLIMIT_NPROC, (pids, pids))


def _become(identity: tuple[int, int] | None) -> None:
    if identity is None:
        return
    uid, gid = identity
    if os.geteuid() == 0:
        os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def _privileges(launch: Launch, parent: int) -> None:
    if launch.walls:
        syscalls.keep_few_powers()
    if launch.walls or launch.own_processes:
        parent = 0  # who waits outside, as it is called from in there
    if launch.no_new_privileges:
        syscalls.forbid_new_privileges()
        fence.put_up()
    # Without its supervisor nobody would read its output, know its end or enforce its limits.
    syscalls.die_with_parent(signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(127)


def _execute(launch: Launch) -> None:
    # os.execvpe would import a module now, which the experiment's user may not be able to read.
    trouble: OSError | None = None
    for program in _candidates(launch.argv[0], launch.env.get(b"PATH", os.defpath.encode())):
        try:
            os.execve(program, launch.argv, launch.env)  # noqa: S606 - no shell is the point
        except OSError as error:
            if trouble is None or error.errno not in _NOT_THERE:
                trouble = error
    raise trouble or FileNotFoundError(errno.ENOENT, "")


def _candidates(program: bytes, path: bytes) -> list[bytes]:
    if b"/" in program:
        return [program]
    return [os.path.join(directory, program) for directory in path.split(b":") if directory]
