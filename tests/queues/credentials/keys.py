"""Files of credentials for tests: every value is invented."""

from __future__ import annotations

import json
import os
from pathlib import Path

PEM = "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n"


def google(project: str = "demo-project", key: str = "first") -> str:
    """Return a service account's key."""
    return json.dumps(
        {
            "type": "service_account",
            "project_id": project,
            "private_key_id": f"id-of-{key}",
            "private_key": PEM.format(key),
            "client_email": f"runner@{project}.iam.gserviceaccount.com",
            "token_uri": "https://oauth2.googleapis.com/token",
        }
    )


def aws(
    key: str = "KEYONE", hidden: str = "secret-one", region: str = "", profile: str = ""
) -> str:
    """Return a file of the AWS command line."""
    lines = [f"[{profile or 'default'}]"]
    lines += [f"aws_access_key_id = {key}", f"aws_secret_access_key = {hidden}"] if key else []
    lines += [f"region = {region}"] if region else []
    return "\n".join(lines) + "\n"


def put(path: Path, text: str) -> Path:
    """Write a file as ``cp`` would, last changed long ago as far as stamps can be set."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    return path


def kubelet(mount: Path, generation: str, files: dict[str, str]) -> None:
    """Write a volume as the kubelet does: a new directory, and one rename that swaps it in."""
    mount.mkdir(parents=True, exist_ok=True)
    data = mount / f"..2026_{generation}"
    for name, text in files.items():
        put(data / name, text)
    link = mount / "..data"
    before = link.resolve() if link.is_symlink() else None
    (mount / "..data_tmp").symlink_to(data.name)
    (mount / "..data_tmp").rename(link)
    tops = {name.split("/")[0] for name in files}
    for name in tops - {entry.name for entry in mount.iterdir()}:
        (mount / name).symlink_to(f"..data/{name}")
    for entry in list(mount.iterdir()):
        if not entry.name.startswith("..") and entry.name not in tops:
            entry.unlink()
    if before is not None:
        for top, _, names in os.walk(before, topdown=False):
            for name in names:
                Path(top, name).unlink()
            Path(top).rmdir()
