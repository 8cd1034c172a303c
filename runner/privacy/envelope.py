"""The message around a sealed request, as the StudioML client writes it (client section 3)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from runner.privacy.payload import seal
from runner.privacy.signing import Signer, sign


def envelope(
    request: Mapping[str, Any], sealing: RSAPublicKey, signing: Ed25519PrivateKey
) -> dict[str, Any]:
    """Seal and sign a request; what it needs stays readable for everybody."""
    experiment = request["experiment"]
    payload = seal(json.dumps(request).encode(), sealing)
    return {
        "message": {
            "experiment": {
                "status": experiment.get("status"),
                "pythonver": experiment.get("pythonver"),
            },
            "time_added": experiment.get("time_added"),
            "experiment_lifetime": experiment.get("max_duration"),
            "resources_needed": experiment["resources_needed"],
            "payload": payload,
            "signature": sign(payload, signing),
            "fingerprint": Signer(signing.public_key()).fingerprint,
        }
    }
