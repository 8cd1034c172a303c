"""Closes to an experiment what none has a use for: some system calls, and signals to others.

What stands stays, for all that it starts, whoever it becomes. It takes no right to mount and no
namespaces. A kernel that has not got it gives less, and the run starts all the same.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

#: The kernel's keyrings, which all of one user share; what sees or changes the whole machine; and
#: what has been a way into the kernel more often than of use to anybody who computes.
_REFUSED = (
    *("add_key", "request_key", "keyctl"),
    *("bpf", "perf_event_open", "userfaultfd", "syslog"),
    *("init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load"),
)
#: Their numbers, by the kernel's name of what the calls are made for.
_X86_64 = (248, 249, 250, 321, 298, 323, 103, 175, 313, 176, 246, 320)
_I386 = (286, 287, 288, 357, 336, 374, 103, 128, 350, 129, 283)
_GENERIC = (217, 218, 219, 280, 241, 282, 116, 105, 273, 106, 104, 294)
_ARM = (309, 310, 311, 386, 364, 388, 103, 128, 379, 129, 347, 401)
_AUDIT_X86_64, _AUDIT_I386 = 0xC000003E, 0x40000003
_AUDIT_AARCH64, _AUDIT_ARM, _AUDIT_RISCV64 = 0xC00000B7, 0x40000028, 0xC00000F3
#: Of each machine the number of ``seccomp``, and what may be called on it.
_MACHINES: dict[str, tuple[int, dict[int, tuple[int, ...]]]] = {
    "x86_64": (317, {_AUDIT_X86_64: _X86_64, _AUDIT_I386: _I386}),
    "aarch64": (277, {_AUDIT_AARCH64: _GENERIC, _AUDIT_ARM: _ARM}),
    "riscv64": (277, {_AUDIT_RISCV64: _GENERIC}),
}
#: Calls of programs with short pointers differ from the others in this bit.
_SHORT_POINTERS = 0x40000000

# A program of the kernel's filter: what it loads, compares and returns.
_LOAD, _IS, _AND, _RETURN = 0x20, 0x15, 0x54, 0x06
_NUMBER_AT, _MACHINE_AT = 0, 4
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000
_SET_FILTER = 1
#: Else kernels before 5.16 slow down all that is filtered, for speculation's sake.
_SPEC_ALLOW = 4

#: Landlock has the same numbers everywhere; its first version with scopes came with Linux 6.12.
_CREATE_RULESET, _RESTRICT_SELF = 444, 446
_TELL_VERSION, _WITH_SCOPES = 1, 6
#: Sockets without a file, and signals.
_SCOPES = 1 | 2

_libc = ctypes.CDLL(None, use_errno=True)


def put_up() -> None:
    """Fence this process in, with all that it will start; only for who can gain no privileges."""
    _refuse_calls()
    _keep_to_its_own()


def keeps_apart() -> bool:
    """Tell whether this kernel can keep signals and nameless sockets among a run's processes."""
    none = ctypes.c_void_p(None)
    version = _libc.syscall(
        ctypes.c_long(_CREATE_RULESET), none, ctypes.c_size_t(0), ctypes.c_uint(_TELL_VERSION)
    )
    return bool(version >= _WITH_SCOPES)


def _refuse_calls() -> None:
    """Have the system calls in ``_REFUSED`` fail with EPERM, as containers' do."""
    if os.uname().machine not in _MACHINES:
        return
    number, machines = _MACHINES[os.uname().machine]
    code = program(machines)
    lines = ctypes.create_string_buffer(code, len(code))
    told = struct.pack("@HP", len(code) // 8, ctypes.addressof(lines))
    _libc.syscall(
        ctypes.c_long(number), ctypes.c_uint(_SET_FILTER), ctypes.c_uint(_SPEC_ALLOW), told
    )


def program(machines: dict[int, tuple[int, ...]]) -> bytes:
    """Return the filter that refuses these calls, by the kind of machine they are made for."""
    blocks = []
    for machine, calls in machines.items():
        # From each comparison over those that follow it, and over the word that allows.
        last = len(calls)
        compared = [_line(_IS, call, last - at, 0) for at, call in enumerate(calls)]
        ends = [_line(_RETURN, _ALLOW), _line(_RETURN, _FAIL | errno.EPERM)]
        masked = [_line(_AND, 0xFFFFFFFF ^ _SHORT_POINTERS)] if machine == _AUDIT_X86_64 else []
        block = [_line(_LOAD, _NUMBER_AT), *masked, *compared, *ends]
        blocks.append([_line(_IS, machine, 0, len(block)), *block])
    lines = [line for block in blocks for line in block]
    return b"".join((_line(_LOAD, _MACHINE_AT), *lines, _line(_RETURN, _ALLOW)))


def _line(code: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("@HBBI", code, then, otherwise, value)


def _keep_to_its_own() -> None:
    """Let it signal no process, and reach no nameless socket, but its own."""
    asked = struct.pack("@QQQ", 0, 0, _SCOPES)
    fence = _libc.syscall(
        ctypes.c_long(_CREATE_RULESET), asked, ctypes.c_size_t(len(asked)), ctypes.c_uint(0)
    )
    if fence < 0:
        return
    try:
        _libc.syscall(ctypes.c_long(_RESTRICT_SELF), ctypes.c_int(fence), ctypes.c_uint(0))
    finally:
        os.close(fence)
