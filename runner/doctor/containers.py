"""Container images: whether a container starts, which images are trusted, what is kept of them."""

from __future__ import annotations

from dataclasses import replace

from runner import blocking
from runner.app.containers import default_image, trusted
from runner.app.sandbox import container_sandbox
from runner.doctor.check import Finding, failed, ok, skipped, warning
from runner.doctor.examination import Tell
from runner.doctor.patient import LIMIT, Patient
from runner.errors import Misconfigured
from runner.images import apptainer
from runner.images.reference import Kind
from runner.request.units import format_size

_START, _TRUST, _KEPT = "start", "trusted images", "kept images"
_REMEDY = (
    "install apptainer (https://apptainer.org/docs/admin), allow user namespaces where the daemon "
    "is not root; without it experiments with an image are left to other runners"
)


async def look(patient: Patient, tell: Tell) -> None:
    """Start something in the operator's image, or in this machine's own system."""
    settings = patient.settings
    try:
        default = default_image(settings)
        trust = await blocking.call(lambda _: trusted(settings), limit=LIMIT)
    except Misconfigured as error:
        tell(failed(str(error), "correct the option", _TRUST))
        return
    listed = ", ".join(trust.patterns) or "none"
    tell(ok(f"messages may name the images {listed}", _TRUST))
    with patient.scratch() as scratch:
        places = replace(patient.places, state=scratch, identity=patient.identity)
        local = default.path if default and default.kind is Kind.LOCAL else None
        tool = apptainer.program()
        if tool is None:
            say = failed if default else skipped
            tell(say("neither apptainer nor singularity is installed", _REMEDY, _START))
            return
        try:
            await container_sandbox(settings, places, local)
        except Misconfigured as error:
            tell((failed if default else warning)(str(error), _REMEDY, _START))
            return
    tell(ok(f"{tool} starts containers here", _START))
    tell(_kept(patient))


def _kept(patient: Patient) -> Finding:
    limit = format_size(patient.settings.image_cache_size)
    return ok(f"images of registries are kept in {patient.places.images}, {limit} at most", _KEPT)
