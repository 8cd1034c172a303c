"""Whose machine this is goes by its firmware, and no network is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.notices.vendor import vendor


@pytest.mark.parametrize(
    ("file", "text", "name"),
    [
        ("class/dmi/id/sys_vendor", "Amazon EC2\n", "aws"),
        ("class/dmi/id/bios_vendor", "Amazon EC2\n", "aws"),
        ("hypervisor/uuid", "ec2e1916-9099-7caf-fd21-012345abcdef\n", "aws"),
        ("class/dmi/id/product_name", "Google Compute Engine\n", "gcp"),
        ("class/dmi/id/sys_vendor", "Google\n", "gcp"),
        ("class/dmi/id/sys_vendor", "Dell Inc.\n", ""),
        ("class/dmi/id/product_name", "Standard PC (Q35 + ICH9, 2009)\n", ""),
    ],
)
def test_the_firmware_names_the_cloud(tmp_path: Path, file: str, text: str, name: str) -> None:
    """What is no cloud we know has no service."""
    place = tmp_path / file
    place.parent.mkdir(parents=True)
    place.write_text(text)
    assert vendor(tmp_path) == name


def test_a_machine_that_tells_nothing_is_no_cloud(tmp_path: Path) -> None:
    """As in many containers and virtual machines."""
    assert vendor(tmp_path) == ""
