"""A script that tries whether control groups bound runs here: ``bounds_trial.py [SLICE]``.

Exits with 0 and tells their version and whether they bound cores, else with 1 and the reason. SLICE
is systemd's for runs: then it tries in a scope of its own. What runs have left whose supervisors
were killed is swept away before. Of version 2 it moves the daemon aside, where that has to be.
"""

import os
import sys

sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from runner.supervisor import groups, hierarchies, scope
from runner.supervisor.grouping import groups_of

_MEMORY = 64 << 20
_PIDS = 16


def _try(slice_name: str) -> str:
    run_id = f"trial-{os.getpid()}"
    if slice_name:
        scope.enter(scope.unit_of(run_id), slice_name, 0.0)
    homes = hierarchies.homes()
    groups.sweep(homes)
    made = groups_of(run_id, homes)
    made.make(_MEMORY, 1, _PIDS)
    try:
        _enter(made)
        bounds = made.bounds()
    finally:
        made.remove()
    if not bounds["memory"] == _MEMORY or not bounds["pids"]:
        raise OSError("the kernel took the bounds of a control group and does not keep them")
    return f"{made.version} cores" if bounds["cpu"] else str(made.version)


def _enter(made: groups.Groups) -> None:
    """Have a process in there. Raises OSError."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            made.join()
            code = 0 if os.getpid() in made.members() else 1
        except OSError as error:
            sys.stderr.write(f"{error}\n")
            sys.stderr.flush()
        finally:
            os._exit(code)
    if os.waitpid(pid, 0)[1]:
        raise OSError("a process could not enter its control group")


if __name__ == "__main__":
    try:
        sys.stdout.write(_try(sys.argv[1] if len(sys.argv) > 1 else ""))
    except OSError as error:
        sys.exit(str(error))
