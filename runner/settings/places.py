"""Where things lie on this machine when nobody says otherwise: root's directories, or XDG's."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_NAME = "studio-runner"


@dataclass(frozen=True, slots=True)
class Places:
    """What a default may depend on."""

    environ: Mapping[str, str]
    root: bool
    #: Values of the options declared before this one.
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        """The user's home directory, also where ``HOME`` is not set.

        The root for a user whom nobody knows, as container engines have it.
        """
        try:
            return Path(self.environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir)
        except KeyError:
            return Path("/")

    def _xdg(self, variable: str, below_home: str) -> Path:
        return Path(self.environ.get(variable) or self.home / below_home) / _NAME

    @property
    def state(self) -> Path:
        """Records of the daemon."""
        if self.root:
            return Path("/var/lib") / _NAME
        return self._xdg("XDG_STATE_HOME", ".local/state")

    @property
    def data(self) -> Path:
        """Queues and stores that ``submit`` makes."""
        if self.root:
            return Path("/var/lib") / _NAME
        return self._xdg("XDG_DATA_HOME", ".local/share")

    @property
    def config(self) -> Path:
        """Credentials and keys."""
        if self.root:
            return Path("/etc") / _NAME
        return self._xdg("XDG_CONFIG_HOME", ".config")
