"""What messages to webhooks are signed with: `whsec_…`, shown once, and kept sealed with the installation's secret.

A secret is sealed by AES-256-GCM for its tenant and endpoint, under a key of the vault's secret; a row that was copied
to another place opens for nobody.
"""

from __future__ import annotations

import secrets
from base64 import b64decode, b64encode
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from kiff.canonical import encode
from kiff.errors import KeyUnusable

PREFIX = "whsec_"
SECRET_BYTES, NONCE_BYTES = 32, 12
_INFO = b"kiff webhook secrets v1"


class HookSecrets:
    """Draws, seals and opens.

    Args:
        installation: what brings the secret of the vault.
    """

    def __init__(self, installation: Callable[[], bytes]) -> None:
        self._installation = installation
        self._cipher: AESGCM | None = None

    def draw(self, tenant: str, endpoint_id: str) -> tuple[str, str]:
        """A fresh secret, and how it is kept.

        Raises:
            KeyUnusable: nothing can be sealed, so nothing is kept.
        """
        secret = secrets.token_bytes(SECRET_BYTES)
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = nonce + self._sealing().encrypt(nonce, secret, _place(tenant, endpoint_id))
        return f"{PREFIX}{b64encode(secret).decode()}", b64encode(sealed).decode()

    def open(self, tenant: str, endpoint_id: str, sealed: str) -> str:
        """A secret as it was shown.

        Raises:
            KeyUnusable: it was sealed with another installation's secret, or for another place.
        """
        raw = b64decode(sealed)
        try:
            secret = self._sealing().decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], _place(tenant, endpoint_id))
        except (InvalidTag, ValueError) as error:
            message = f"the secret of the webhook `{endpoint_id}` does not open with this installation's secret"
            raise KeyUnusable(message, hint=f"kiff webhooks rotate {endpoint_id} gives it another one") from error
        return f"{PREFIX}{b64encode(secret).decode()}"

    def _sealing(self) -> AESGCM:
        if self._cipher is None:
            self._cipher = AESGCM(HKDF(SHA256(), SECRET_BYTES, None, _INFO).derive(self._installation()))
        return self._cipher


def _place(tenant: str, endpoint_id: str) -> bytes:
    return encode({"endpoint": endpoint_id, "tenant": tenant})
