"""Which files look like credentials and are therefore not sent to another machine. Pure."""

from __future__ import annotations

import fnmatch

#: Nothing larger is read to find out.
LONGEST = 64 << 10
_PEM_LINE = 80

_FILES = (
    ".env",
    ".env.*",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "*.jks",
    "*.keystore",
    "*.kdbx",
    "id_rsa*",
    "id_dsa*",
    "id_ecdsa*",
    "id_ed25519*",
    "credentials",
    "credentials.json",
    "client_secret*.json",
    "service-account*.json",
    "service_account*.json",
    ".netrc",
    "_netrc",
    ".pypirc",
    ".npmrc",
    ".pgpass",
    ".git-credentials",
    ".dockercfg",
    ".boto",
    "kubeconfig",
    "*passphrase",
    "*passphrase.txt",
)
_HARMLESS = ("*.pub", ".env.example", ".env.sample", ".env.template")
_DIRECTORIES = frozenset({".aws", ".ssh", ".gnupg", ".kube", ".docker", ".azure", ".gcloud"})
#: Words of JSON documents that hold a key: of service accounts, users and client programs.
_SECRET_WORDS = (b'"private_key"', b'"client_secret"', b'"refresh_token"')


def name_is_suspect(base: str, *, directory: bool) -> bool:
    """Tell by the name, as ``.gitignore`` templates and secret scanners do."""
    lowered = base.lower()
    if directory:
        return lowered in _DIRECTORIES
    if any(fnmatch.fnmatchcase(lowered, pattern) for pattern in _HARMLESS):
        return False
    return any(fnmatch.fnmatchcase(lowered, pattern) for pattern in _FILES)


def how_much_tells(base: str) -> int:
    """Return how many bytes of a file ``content_is_suspect`` needs."""
    return LONGEST if base.lower().endswith(".json") else _PEM_LINE


def content_is_suspect(base: str, content: bytes) -> bool:
    """Tell by the content: a private key in PEM form, or a JSON document that has one."""
    if content.lstrip().startswith(b"-----BEGIN ") and b"PRIVATE KEY-----" in content[:_PEM_LINE]:
        return True
    return base.lower().endswith(".json") and any(word in content for word in _SECRET_WORDS)
