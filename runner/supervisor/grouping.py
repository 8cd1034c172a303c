"""Which control groups a run gets on this machine."""

from __future__ import annotations

from runner.supervisor.groups import NEEDED, USED, Groups
from runner.supervisor.groups_v1 import GroupsV1
from runner.supervisor.groups_v2 import GroupsV2
from runner.supervisor.hierarchies import Homes
from runner.supervisor.processes import PREFIX


def groups_of(run_id: str, homes: Homes) -> Groups:
    """Return the groups that a run has to get. Raises OSError where the machine has no such."""
    name = PREFIX + run_id
    if all(one in homes.v1 for one in NEEDED):
        return GroupsV1(name, {one: f"{homes.v1[one]}/{name}" for one in USED if one in homes.v1})
    if homes.v2:
        missing = [one for one in NEEDED if one not in homes.controllers]
        if not missing:
            return GroupsV2(name, homes)
        raise OSError(f"the control group {homes.v2} has no {' and no '.join(missing)} to bound")
    raise OSError("no control groups for memory and processes can be seen")
