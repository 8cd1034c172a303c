"""The black-box cases of protocol section 9 that no other test is about, named by their numbers.

``tests/tooling/test_protocol_cases.py`` says of every case where its test is.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from nacl.secret import SecretBox

from runner.errors import BadField, Misconfigured, RequestError
from runner.lifecycle.claiming import admission
from runner.lifecycle.metadata.document import Document
from runner.model import Bytes, Capacity, Gpu, Needs
from runner.privacy import making
from runner.privacy.envelope import envelope
from runner.privacy.keyring import Keyring
from runner.privacy.payload import seal, unseal
from runner.privacy.signing import Signer, sign
from runner.request.envelope import is_envelope
from runner.resources.caps import caps
from runner.settings import Settings
from tests.acceptance.box import Box, Json, packed, until
from tests.privacy.sealing import laid_out
from tests.request.sample import changed, decoded, sample


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A machine of its own for every test."""
    with Box(tmp_path) as box:
        yield box


# ----------------------------------------------------------------------------- 9.2 and 9.3


def test_9_2_a_machine_fits_into_itself() -> None:
    """Who needs all that there is gets it."""
    gpu = Gpu("GPU-1", "Tesla T4", Bytes(1 << 34), 4)
    total = Capacity(8, Bytes(1 << 35), Bytes(1 << 40), (gpu,))
    needs = Needs(8, total.memory, total.disk, gpu_slots=4, gpu_memory=gpu.memory, gpu_count=1)
    assert isinstance(admission.decide(needs, total, total), admission.Fits)


@pytest.mark.parametrize("swapped", [False, True], ids=["as-written", "swapped"])
def test_9_3_1_one_document_is_merged_into_another(swapped: bool) -> None:  # noqa: FBT001 - a case
    """The preferred one wins. The intent differs: not the blanks of the text, the JSON counts."""
    preferred: Json = {"experiment": {"D": "d", "C": "c", "B": "b", "A": "a"}}
    other: Json = {"experiment": {"A": 1, "E": 2}}
    document = Document()
    for one in (preferred, other) if swapped else (other, preferred):
        document.apply(one, 1)
    first = 1 if swapped else "a"
    merged = {"experiment": {"A": first, "B": "b", "C": "c", "D": "d", "E": 2}}
    assert document.value == merged
    assert document.encode() == json.dumps(merged, separators=(",", ":")).encode()


def test_9_3_2_a_patch_replaces_and_removes() -> None:
    """The example of RFC 6902."""
    document = Document()
    document.apply({"experiment": {"name": "John", "age": 24, "height": 3.21}}, 1)
    patch = [
        {"op": "replace", "path": "/experiment/name", "value": "Jane"},
        {"op": "remove", "path": "/experiment/height"},
    ]
    document.apply(patch, 1)
    assert document.encode() == b'{"experiment":{"age":24,"name":"Jane"}}'


# ----------------------------------------------------------------------------- 9.4 cryptography


def test_9_4_c1_a_text_is_sealed_and_one_byte_of_its_key_matters() -> None:
    """16 KiB; the key of the text is itself sealed, so it is changed where it is."""
    key = generate_private_key(65537, 2048)
    text = random.Random(1).randbytes(16 << 10)  # noqa: S311 - any text
    payload = seal(text, key.public_key())
    assert unseal(payload, key) == text
    wrapped, locked = payload.split(",")
    other, _ = seal(text, key.public_key()).split(",")
    assert other != wrapped
    with pytest.raises(RequestError, match="payload"):
        unseal(f"{other},{locked}", key)


def test_9_4_c3_and_c4_keys_and_envelopes_have_the_forms_of_the_original(tmp_path: Path) -> None:
    """PEM kinds, a passphrase, and what counts as an envelope: also one with an empty payload."""
    place = laid_out(tmp_path) / making.MESSAGE
    assert b"BEGIN RSA PUBLIC KEY" in (place / "encryption/ssh-publickey").read_bytes()
    private = (place / "encryption/ssh-privatekey").read_bytes()
    assert b"BEGIN RSA PRIVATE KEY" in private
    assert b"ENCRYPTED" in private
    assert not is_envelope(json.dumps(sample()).encode())
    assert is_envelope({"message": {"payload": ""}, "signature": "x"})


def test_9_4_c5_a_request_comes_back_as_it_was() -> None:
    """Sealed in an envelope, and byte for byte."""
    sealing, signing = generate_private_key(65537, 2048), Ed25519PrivateKey.generate()
    request = sample()
    message = envelope(request, sealing.public_key(), signing)["message"]
    assert unseal(message["payload"], sealing) == json.dumps(request).encode()
    Signer(signing.public_key()).check(message["payload"], message["signature"])


@pytest.mark.parametrize(
    ("line", "fingerprint"),
    [
        (
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFITo06Pk8sqCMoMHPaQiQ7BY3pjf7OE8BDcsnYozmIG me",
            "SHA256:rM9uPGQWiB8BrF542H5tJdVQoWU2+jw00w1KnXjywTY",
        ),
        (
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKohNVg9rRRrUlOSdksrXczWzuR9jN+NE2ZpX2Myw+k9",
            "SHA256:0Q8tSkwT/m8p4eAsUIFDUfonQZyleEla5nFQCvWE5lk",
        ),
    ],
    ids=["of-the-test", "of-the-disabled-test"],
)
def test_9_4_c6_a_key_has_its_fingerprint(line: str, fingerprint: str) -> None:
    """As ``ssh-keygen -l`` shows it; the one in the original's documentation is wrong."""
    assert Signer.of_line(line).fingerprint == fingerprint


def test_9_4_c7_a_text_is_signed() -> None:
    """And another one is not."""
    key = Ed25519PrivateKey.generate()
    signer = Signer(key.public_key())
    signer.check("Hello World", sign("Hello World", key))
    with pytest.raises(RequestError):
        signer.check("Hello World!", sign("Hello World", key))


def test_9_4_c8_the_longest_beginning_of_a_name_has_the_key(tmp_path: Path) -> None:
    """Each name's own key, else that of the longest name it begins with, else none."""
    names = ("rmq_", "rmq_karl", "rmq_andrei", "rmq_k", "rmq_ka", "rmq_kar", "rmq_donn", "rmq_do")
    for name in names:
        (tmp_path / name).write_text(f"key of {name}")
    ring = Keyring(tmp_path, str)
    for name in names:
        assert ring.find(name) == f"key of {name}"
    wanted = {
        "r": None,
        "rmq_z": "rmq_",
        "rmq_donn_": "rmq_donn",
        "rmq_andrei_andrei": "rmq_andrei",
        "rmq_karlx": "rmq_karl",
    }
    for name, owner in wanted.items():
        assert ring.find(name) == (owner and f"key of {owner}")


def test_9_4_c9_a_key_that_comes_later_and_a_signature_in_the_wire_form(tmp_path: Path) -> None:
    """As Paramiko writes it: two strings, each with its length."""
    ring, key = Keyring(tmp_path, Signer.of_line), Ed25519PrivateKey.generate()
    assert ring.find("rmq_random") is None
    (tmp_path / "rmq_random").write_text(Signer(key.public_key()).line)
    signer = ring.find("rmq_random")
    assert signer is not None
    text = base64.b64encode(random.Random(2).randbytes(16 << 10)).decode()  # noqa: S311 - any text
    kind, bare = b"ssh-ed25519", key.sign(text.encode())
    blob = b"".join(len(part).to_bytes(4, "big") + part for part in (kind, bare))
    signer.check(text, base64.b64encode(blob).decode())


# ----------------------------------------------------------------------------- 9.10 and 9.11


@pytest.mark.parametrize("limit", ["--limit-idle-duration", "--limit-tasks"])
def test_9_10_a_limit_ends_an_idle_daemon(box: Box, limit: str) -> None:
    """With nothing running; ``limit-tasks`` ends it after that many, and what runs is finished."""
    key = box.submit("print('the only one')")
    daemon = box.start(limit, "1" if limit == "--limit-tasks" else "1s")
    assert box.outcome(key)["cause"] == "completed"
    assert daemon.wait(90) == 0


#: Of Keras: losses and accuracies of training and validation.
_EPOCH = re.compile(r".*loss:\s(\S+)\s.*acc:\s(\S+)\s.*val_loss:\s(\S+)\s.*val_acc:\s(\S+)$")
_LINE = (
    "60000/60000 [==============================] - 1s 23us/step - loss: 0.2432 - acc: 0.9313 "
    "- val_loss: 0.2316 - val_acc: 0.9355"
)


def test_9_11_e1_the_last_epoch_is_read_from_the_output(box: Box) -> None:
    """Written over and over as Keras does, and in ``output.tar`` as the file ``output``.

    The intent differs: what is tested is the way of the output, not a framework's learning.
    """
    script = f"for part in range(3): print({_LINE[:20]!r}, end='\\r')\nprint({_LINE!r})"
    key = box.submit(script)
    box.start()
    assert box.outcome(key)["cause"] == "completed"
    with tarfile.open(box.storage / f"experiments/{key}/output.tar") as tar:
        assert [Path(name).name for name in tar.getnames()] == ["output"]
    found = [
        match.groups() for line in box.output(key).splitlines() if (match := _EPOCH.match(line))
    ]
    assert found[-1] == ("0.2432", "0.9313", "0.2316", "0.9355")


_MULTISTEP = """
import json, os, pathlib, sys
print(json.dumps({"experiment": {"name": "Zaphod Beeblebrox"}}))
marker = pathlib.Path(os.environ["MARKER"])
if not marker.exists():
    marker.touch()
    print(json.dumps([{"op": "remove", "path": "/experiment"}]))
    sys.exit(-1)
"""


def test_9_11_e4_a_second_attempt_succeeds_and_each_has_its_metadata(box: Box) -> None:
    """One document for each attempt: the first took its own back, the second one keeps it.

    The intent differs: a script that fails is final unless the request asks for more.
    """
    message = box.message(_MULTISTEP)
    message["config"]["env"] = {"MARKER": str(box.root / "marker")}
    message["config"]["runner"] = {"retry_on": ["exit"]}
    key = box.publish(message)
    box.start()
    until(lambda: box.settled()[1:] or None, "two attempts", box.log)
    assert [one["cause"] for one in box.settled()] == ["exit", "completed"]
    files = sorted((box.storage / "metadata").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    first, second = (json.loads(path.read_text()) for path in files)
    assert all(path.name.startswith("scrape-host-") for path in files)
    assert not first.get("experiment", {}).get("name")
    assert second["experiment"]["name"] == "Zaphod Beeblebrox"
    ours = second["studioml"]
    assert ours["experiment"] == {"key": key, "project": "acceptance"}
    assert ours["load_time"] < ours["start_time"] < ours["stop_time"]
    assert ours["host"]
    assert ours["artifacts"]["output"].endswith(f"experiments/{key}/output.tar")
    assert "attempt 2" in box.output(key)


# ----------------------------------------------------------------------------- 9.12 added cases


def test_9_12_a_value_that_is_none_stops_the_start() -> None:
    """The intent differs: the original ignores such a variable without a word."""
    with pytest.raises(Misconfigured, match="MAX_CORES"):
        Settings.load((), {"MAX_CORES": "many"})


def test_9_12_a_small_cache_is_one() -> None:
    """The intent differs: the original demands 1 GiB, and both options or none of them."""
    settings = Settings.load(("--cache-size", "10mb"), {})
    assert settings.cache_size == 10_000_000


def test_9_12_a_bound_above_the_machine_is_a_warning() -> None:
    """The intent differs: the original does not start, and what a machine has changes."""
    capped = caps(Capacity(4, Bytes(1 << 30), Bytes(1 << 30)), max_cores=64)
    assert capped.capacity.cores == 4
    assert "--max-cores is 64" in capped.warnings[0]


def test_9_12_a_max_duration_that_cannot_be_read_is_named() -> None:
    """The intent differs: the original takes it for a limit that has passed."""
    with pytest.raises(BadField, match=r"experiment\.max_duration"):
        decoded(changed("experiment.max_duration", "soon"))


@pytest.mark.parametrize("name", ["data.tgz", "data.tar.bz2", "data.bin"])
def test_9_12_an_archive_is_known_by_its_bytes(box: Box, name: str) -> None:
    """The intent differs: the original reads ``.tgz`` as bzip2, and other names not at all."""
    message = box.message("print(open('../data/inside').read())")
    blob = f"blobstore/{name}"
    (box.storage / blob).write_bytes(packed({"inside": "found"}))
    message["experiment"]["artifacts"]["data"] = box.artifact(blob, mutable=False)
    key = box.publish(message)
    box.start()
    assert box.outcome(key)["cause"] == "completed"
    assert "found\n" in box.output(key)


def test_9_4_c2_what_the_clients_libraries_seal_is_opened() -> None:
    """By the byte layout alone, without a line of ours: OAEP over SHA-256, then a secretbox."""
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415 - of this test alone
    from cryptography.hazmat.primitives.asymmetric import padding  # noqa: PLC0415

    key = generate_private_key(65537, 4096)
    secret = hashlib.sha256(b"any 32 bytes").digest()
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    wrapped = key.public_key().encrypt(secret, oaep)
    locked = SecretBox(secret).encrypt(b"Hello World!", nonce=bytes(24))
    payload = ",".join(base64.b64encode(part).decode() for part in (wrapped, bytes(locked)))
    assert unseal(payload, key) == b"Hello World!"
