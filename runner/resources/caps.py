"""The operator's upper bounds on what experiments are given."""

from __future__ import annotations

from dataclasses import dataclass, replace

from runner.model import Bytes, Capacity

NO_BOUND = Bytes(0)


@dataclass(frozen=True, slots=True)
class Capped:
    """What is left to give, with a sentence for every bound that binds nothing."""

    capacity: Capacity
    warnings: tuple[str, ...] = ()


def caps(
    capacity: Capacity,
    *,
    max_cores: int = 0,
    max_mem: Bytes = NO_BOUND,
    max_disk: Bytes = NO_BOUND,
) -> Capped:
    """Bound ``capacity``; 0 is no bound.

    The reference runner does not start when a bound exceeds the machine (protocol section 6.2). A
    bound is a promise not to give more, and that is kept: what is available differs from one start
    to the next, and a daemon in a crash loop helps nobody. So it is a warning here.
    """
    warnings: list[str] = []

    def bound(option: str, most: int, there: int) -> int:
        if most > there:
            warnings.append(
                f"{option} is {most}, and only {there} can be given here: the smaller one counts"
            )
        return min(most, there) if most else there

    bounded = replace(
        capacity,
        cores=bound("--max-cores", max_cores, capacity.cores),
        memory=Bytes(bound("--max-mem", max_mem, capacity.memory)),
        disk=Bytes(bound("--max-disk", max_disk, capacity.disk)),
    )
    return Capped(bounded, tuple(warnings))
