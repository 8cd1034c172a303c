"""An acceptance box whose experiments keep everything in an S3 bucket, behind a proxy."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.acceptance.box import PATIENCE, Box, Json, until
from tests.servers.proxy import Proxy
from tests.servers.s3 import S3Server


class S3Box(Box):
    """Messages come by a local queue; artifacts, results and claims lie in the bucket."""

    def __init__(self, root: Path, server: S3Server, proxy: Proxy, bucket: str) -> None:
        super().__init__(root)
        self.server = server
        self.proxy = proxy
        self.bucket = bucket

    def message(self, script: str, *, workspace: bytes | None = None, **fields: Any) -> Json:
        """Return a message that names the bucket, as it is reached through the proxy."""
        message = super().message(script, workspace=workspace, **fields)
        key = message["experiment"]["artifacts"]["workspace"]["key"]
        self.server.put(self.bucket, key, (self.storage / key).read_bytes())
        admin = self.server.admin
        keys = {"access_key": admin.access_key, "secret_access_key": admin.secret_key.reveal()}
        message["config"]["storage"] = {
            "type": "s3",
            "endpoint": self.proxy.url,
            "bucket": self.bucket,
            "credentials": {"aws": keys},
        }
        return message

    def artifact(self, key: str, *, mutable: bool = True) -> Json:
        """Return an artifact of the bucket."""
        qualified = f"s3://{self.proxy.host}/{self.bucket}/{key}"
        return {"unpack": True, "mutable": mutable, "key": key, "qualified": qualified}

    def claim(self, key: str) -> Json | None:
        """Return the claim record of an experiment, as it is."""
        body = self.object(f"experiments/{key}/_claim.{key}.json")
        return dict(json.loads(body)) if body is not None else None

    def object(self, key: str) -> bytes | None:
        """Return an object; ``None`` if there is none."""
        answer = self.server.request("GET", f"/{self.bucket}/{key}")
        return answer.body if answer.status == 200 else None

    def stored(self, key: str, label: str, member: str | None = None) -> bytes:
        """Return a file out of a stored artifact."""
        body = self.object(f"experiments/{key}/{label}.tar")
        assert body is not None
        with tarfile.open(fileobj=io.BytesIO(body)) as tar:
            file = tar.extractfile(member or f"./{label}")
            assert file is not None
            return file.read()

    def cancel(self, key: str) -> None:
        """Cancel an experiment as a user does."""
        options = ["--state-dir", str(self.state), "--local-store-root", str(self.root / "store")]
        subprocess.run(
            [sys.executable, "-m", "runner", "cancel", key, *options],
            check=True,
            env=self.environ(),
            stdout=subprocess.DEVNULL,
            timeout=PATIENCE,
        )

    def check_clean(self) -> None:
        """See that nothing is left of any experiment: here, in the bucket, or half begun."""
        self.wait_until_clean()
        until(lambda: not self.server.uploads(self.bucket) or None, "no upload", self.log)
        assert self.complaints() == []


@contextmanager
def s3_box(root: Path, server: S3Server) -> Iterator[S3Box]:
    """Have a box with a bucket of its own."""
    with (
        server.bucket() as bucket,
        Proxy(("127.0.0.1", server.port)) as proxy,
        S3Box(root, server, proxy, bucket) as box,
    ):
        yield box
