"""What experiments must not see of this machine: credentials, records, other people's messages."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from runner import log
from runner.app import fleet
from runner.app.keeping import root_of
from runner.app.key_files import with_folders
from runner.app.places import Places
from runner.errors import Misconfigured
from runner.lifecycle.runs.spellings import spellings
from runner.lifecycle.runs.workspace import EXPERIMENTS, unreachable
from runner.model import Identity
from runner.queues.local.names import STATE
from runner.resources.machine_lock import existing_directory
from runner.settings import Settings
from runner.settings.places import Places as Defaults

_log = log.get_logger(__name__)

#: Where clients of clouds look for keys when nobody names any, below the home directory.
_HOME = (".aws", ".config/gcloud", ".boto", ".mc/config.json", ".kube/config")
#: Names a key file that opens queues.
_KEY = "GOOGLE_APPLICATION_CREDENTIALS"
#: What names a file of keys in the daemon's own environment.
_VARIABLES = (
    _KEY,
    "CLOUDSDK_CONFIG",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CONFIG_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "KUBECONFIG",
)
#: Where orchestrators put the secrets of a container.
_MOUNTED = (Path("/run/secrets"), Path("/var/run/secrets"))
#: Files of one credentials directory that are looked at, when the daemon starts, for links.
_LOOKED_AT = 5_000


def hidden(settings: Settings, places: Places, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Return what is to be hidden from experiments, whether or not it is there yet."""
    found = [
        *credentials(settings),
        *_believed(settings),
        *([settings.state_file] if settings.state_file else ()),
        *_own(environ),
        Defaults(environ, root=os.geteuid() == 0).config,
        places.state,
        settings.working_dir / EXPERIMENTS,
        root_of(settings),
        *([settings.cache_dir] if settings.cache_dir else ()),
        *_messages(settings, places),
        settings.lock_dir or existing_directory(),
    ]
    return tuple(dict.fromkeys((*with_folders(found), *fleet.folders(settings))))


def visible(settings: Settings) -> tuple[Path, ...]:
    """Return what stays visible below that: where the operator lets messages read and write."""
    base = settings.base_environment
    found = [*settings.local_store_root, *([base] if base else ())]
    return tuple(dict.fromkeys(name for path in found for name in spellings(path)))


def credentials(settings: Settings) -> list[Path]:
    """Return the directories and files of credentials that the settings name."""
    named = (
        settings.certs_dir,
        settings.google_certs,
        settings.sqs_certs,
        settings.google_store_credentials,
        settings.s3_key,
        settings.encrypt_dir,
    )
    return [path for path in (*named, *settings.secret_files) if path is not None]


def check(
    settings: Settings, places: Places, *, hides: bool, environ: Mapping[str, str] = os.environ
) -> None:
    """Raise Misconfigured where a message or an experiment could reach a credential.

    ``hides``: runs do not see what ``hidden`` returns. Without it file permissions have to do.
    """
    key = environ.get(_KEY, "")
    for place in (*credentials(settings), *([Path(key).expanduser()] if key else [])):
        _check_apart(settings, place)
        for identity in () if hides else places.identities:
            _check_closed(place, identity)
    for directory in _believed(settings):
        _check_apart(settings, directory)
    for directory in fleet.folders(settings):
        _check_out_of_reach(settings, directory)
    if not hides and places.identity is None:
        _log.warning(
            "experiments run as the daemon's own user, and nothing can be hidden from them on this "
            "machine: they can read the credentials; run the daemon as root, with --run-as",
            credentials=str(settings.certs_dir),
        )


def _believed(settings: Settings) -> list[Path]:
    """Return where the keys of senders and readers lie: all may read them, none may add any."""
    named = (settings.request_signatures_dir, settings.response_signatures_dir)
    return [path for path in named if path is not None]


def _own(environ: Mapping[str, str]) -> Iterator[Path]:
    """Yield the keys that are the daemon's own, with or without its using them."""
    home = environ.get("HOME")
    if home:
        yield from (Path(home, name) for name in _HOME)
    for name in _VARIABLES:
        # KUBECONFIG may name several.
        named = environ.get(name, "").split(os.pathsep)
        yield from (Path(one).expanduser() for one in named if one)
    yield from _MOUNTED


def _messages(settings: Settings, places: Places) -> list[Path]:
    """Return where local queues keep other people's messages, which may hold keys.

    A root that holds more than queues is not hidden whole.
    """
    root = settings.queue_root
    if root is None:
        return []
    needed = (
        Path("~").expanduser(),
        Path(sys.prefix),
        places.state,
        settings.working_dir,
        *settings.local_store_root,
    )
    is_shared = any(_is_below(path, root) for path in needed)
    return [root / STATE if is_shared else root]


def _is_below(path: Path, root: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def _open(settings: Settings) -> list[tuple[str, Path]]:
    """Return the directories below which messages name files, each with its option."""
    found = [("--local-store-root", root) for root in settings.local_store_root]
    found.append(("--working-dir", settings.working_dir))
    if settings.queue_root is not None:
        found.append(("--queue-root", settings.queue_root))
    return found


def _check_out_of_reach(settings: Settings, folder: Path) -> None:
    """Messages would name what other runners tell. No link is followed: see ``fleet.folders``."""
    for option, root in _open(settings):
        if folder.is_relative_to(root):
            raise Misconfigured(
                f"--fleet-store {folder.parent} lies inside {option} {root}, whose files messages "
                "and experiments can name: choose another directory"
            )


def _check_apart(settings: Settings, place: Path) -> None:
    """Messages name files below some directories: no credential may lie there, nor the reverse."""
    for credential, (option, root) in itertools.product(_with_targets(place), _open(settings)):
        if _is_below(credential, root):
            raise Misconfigured(
                f"the credential {_shown(credential, place)} lies inside {option} {root}, whose "
                "files messages and experiments can name: keep credentials elsewhere"
            )
        if credential == place and _is_folder(place) and _is_below(root, place):
            raise Misconfigured(
                f"{option} {root} lies inside the credentials directory {place}, where messages "
                "must write nothing: choose another directory"
            )


def _with_targets(place: Path) -> Iterator[Path]:
    """Yield the place, and what links in it lead to."""
    yield place
    below = (Path(top, name) for top, *names in os.walk(place) for name in itertools.chain(*names))
    yield from (path for path in itertools.islice(below, _LOOKED_AT) if path.is_symlink())


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 - Path.is_dir raises where we may not look


def _shown(credential: Path, place: Path) -> str:
    real = os.path.realpath(credential)
    return f"{credential} (it leads to {real})" if credential != place else str(place)


def _check_closed(place: Path, identity: Identity) -> None:
    is_folder = _is_folder(place)
    if identity.uid == os.geteuid() or not (is_folder or place.is_file()):
        return
    folder = place if is_folder else place.parent
    is_closed = unreachable(folder.resolve(), identity) is not None
    if is_closed or not (is_folder or _is_readable(place, identity)):
        return
    raise Misconfigured(
        f"experiments run as user {identity.uid}, who can read {place}, and nothing can be hidden "
        f"from them on this machine: chmod go-rwx {place} (in Kubernetes: defaultMode: 0400)"
    )


def _is_readable(file: Path, identity: Identity) -> bool:
    found = file.stat()
    shift = 6 if found.st_uid == identity.uid else 3 if found.st_gid == identity.gid else 0
    return bool(found.st_mode >> shift & 4)
