"""Logging in at another provider: OpenID Connect, authorization code flow with PKCE.

What a login in progress needs travels in a sealed cookie of the browser that began it, so nothing is kept here, and
any process can finish what another one began. Authlib, joserfc and httpx are imported by the first login.
"""

from __future__ import annotations

import secrets
import time
import warnings
from base64 import urlsafe_b64encode
from hmac import compare_digest
from importlib.util import find_spec
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from msgspec import DecodeError, Struct, json

from kiff.errors import InvalidInput, Unauthorized
from kiff.runtime.ports import Clock
from kiff.server.problems import HttpError
from kiff.server.settings import Oidc

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

ALGORITHMS = ("RS256", "ES256", "EdDSA", "Ed25519")
"""Signatures of ID tokens that are looked at; the last two are two names of one."""
SCOPE = "openid email profile"
LOGIN_SECONDS = 600
"""How long a person may take at the provider."""
LEEWAY_SECONDS = 60
"""How far the provider's clock may be off."""
_METADATA_SECONDS = 300.0
_REQUEST_SECONDS = 10.0
_SECRET_CHARACTERS = 16


class Attempt(Struct, frozen=True, forbid_unknown_fields=True):
    """One login in progress."""

    state: str
    nonce: str
    verifier: str
    redirect_uri: str


class Metadata(Struct, frozen=True):
    """What a provider says of itself, as far as it matters here."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class Tokens(Struct, frozen=True):
    """What a provider gives for a code."""

    id_token: str
    access_token: str | None = None


class Provider:
    """A login provider.

    Raises:
        InvalidInput: its settings cannot be used.
    """

    def __init__(self, settings: Oidc, clock: Clock) -> None:
        require_usable(settings)
        self.settings = settings
        self._clock = clock
        self._metadata: tuple[Metadata, float] | None = None

    async def begin(self, redirect_uri: str) -> tuple[str, str]:
        """Where to send a browser, and what it has to bring back.

        Raises:
            HttpError: the provider cannot be reached.
        """
        from authlib.oauth2.client import OAuth2Client  # type: ignore[import-untyped]  # once somebody logs in

        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        attempt = Attempt(state, nonce, verifier, redirect_uri)
        metadata = await self._discovered()
        client = OAuth2Client(
            None,
            self.settings.client_id,
            scope=SCOPE,
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
        )
        endpoint = metadata.authorization_endpoint
        url, _ = client.create_authorization_url(endpoint, state=state, code_verifier=verifier, nonce=nonce)
        return str(url), self._sealed(attempt)

    def attempt(self, sealed: str | None, state: str) -> Attempt:
        """The login that a browser comes back with.

        Raises:
            Unauthorized: it is another browser's, too old, or none.
        """
        attempt = None if sealed is None else self._opened(sealed)
        if attempt is None or not compare_digest(attempt.state.encode(), state.encode()):
            raise Unauthorized("this login was not begun in this browser, or too long ago; begin it again")
        return attempt

    async def claims(self, attempt: Attempt, code: str) -> dict[str, Any]:
        """Who logged in, as the provider's signed word has it.

        Raises:
            Unauthorized: the code or the token is not good. HttpError: the provider cannot be reached.
        """
        metadata = await self._discovered()
        tokens = await self._exchange(metadata, attempt, code)
        keys = await self._fetched(metadata.jwks_uri)
        return self._verified(tokens, keys, attempt.nonce)

    async def _discovered(self) -> Metadata:
        """The provider's metadata; read again every few minutes."""
        if self._metadata is not None and time.monotonic() - self._metadata[1] < _METADATA_SECONDS:
            return self._metadata[0]
        issuer = self.settings.issuer
        told = await self._fetched(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        try:
            metadata = json.decode(told, type=Metadata)
        except DecodeError as error:
            raise self._unavailable() from error
        endpoints = (metadata.authorization_endpoint, metadata.token_endpoint, metadata.jwks_uri)
        if metadata.issuer != issuer or not all(map(_is_private, endpoints)):
            raise self._unavailable()
        self._metadata = (metadata, time.monotonic())
        return metadata

    async def _exchange(self, metadata: Metadata, attempt: Attempt, code: str) -> Tokens:
        """The tokens for a code."""
        from authlib.oauth2.auth import ClientAuth  # type: ignore[import-untyped]
        from authlib.oauth2.rfc6749.parameters import prepare_token_request  # type: ignore[import-untyped]

        body = prepare_token_request(
            "authorization_code", redirect_uri=attempt.redirect_uri, code=code, code_verifier=attempt.verifier
        )
        basic = "client_secret_basic" in metadata.token_endpoint_auth_methods_supported
        method = "client_secret_basic" if basic else "client_secret_post"
        client = ClientAuth(self.settings.client_id, self.settings.client_secret, method)
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        uri, headers, body = client.prepare("POST", metadata.token_endpoint, headers, body)
        status, told = await self._asked("POST", uri, headers, body)
        if 400 <= status < 500:
            raise Unauthorized("the login provider did not take the code; begin the login again")
        try:
            return json.decode(told if status == 200 else b"", type=Tokens)
        except DecodeError as error:
            raise self._unavailable() from error

    def _verified(self, tokens: Tokens, keys: bytes, nonce: str) -> dict[str, Any]:
        """The claims of an ID token: signature, issuer, audience, time, nonce (OpenID Connect Core, 3.1.3.7)."""
        from authlib.oidc.core import CodeIDToken  # type: ignore[import-untyped]
        from joserfc import jwt
        from joserfc.errors import JoseError, SecurityWarning
        from joserfc.jwk import KeySet
        from joserfc.jws import JWSRegistry

        options = {"iss": {"essential": True, "value": self.settings.issuer}}
        options |= {"aud": {"essential": True, "value": self.settings.client_id}}
        asked = {"nonce": nonce, "client_id": self.settings.client_id, "access_token": tokens.access_token}
        registry = JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SecurityWarning)  # the name EdDSA is old, and providers use it
                known = KeySet.import_key_set(json.decode(keys))
                token = jwt.decode(tokens.id_token, known, ALGORITHMS, registry)
            CodeIDToken(token.claims, token.header, options, asked).validate(self._clock.now() // 1000, LEEWAY_SECONDS)
        except (JoseError, DecodeError, ValueError, TypeError, KeyError) as error:
            raise Unauthorized("the login provider's word cannot be trusted; begin the login again") from error
        return token.claims

    async def _fetched(self, url: str) -> bytes:
        status, told = await self._asked("GET", url, {"accept": "application/json"})
        if status != 200:
            raise self._unavailable()
        return told

    async def _asked(self, method: str, url: str, headers: dict[str, str], body: str = "") -> tuple[int, bytes]:
        import httpx

        try:
            async with httpx.AsyncClient(timeout=_REQUEST_SECONDS) as client:
                response = await client.request(method, url, headers=headers, content=body.encode())
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unavailable() from error
        return response.status_code, response.content

    def _unavailable(self) -> HttpError:
        message = f"the login provider `{self.settings.issuer:.200}` cannot be reached, or is not understood"
        return HttpError("login_unavailable", message)

    def _sealed(self, attempt: Attempt) -> str:
        seconds = self._clock.now() // 1000
        return _seal(self.settings).encrypt_at_time(json.encode(attempt), seconds).decode()

    def _opened(self, sealed: str) -> Attempt | None:
        from cryptography.fernet import InvalidToken

        seconds = self._clock.now() // 1000
        try:
            data = _seal(self.settings).decrypt_at_time(sealed.encode(), LOGIN_SECONDS, seconds)
            return json.decode(data, type=Attempt)
        except (InvalidToken, UnicodeEncodeError, DecodeError):
            return None


def require_usable(settings: Oidc) -> None:
    """Refuses settings that could not keep a login safe.

    Raises:
        InvalidInput: names the setting.
    """
    if not _is_private(settings.issuer):
        raise InvalidInput("`issuer` must begin with https://; http:// is for this machine only", field="issuer")
    if not settings.client_id or not settings.claim:
        raise InvalidInput("`client_id` and `claim` must not be empty", field="client_id")
    if len(settings.client_secret) < _SECRET_CHARACTERS:
        message = f"`client_secret` must have at least {_SECRET_CHARACTERS} characters: it seals cookies too"
        raise InvalidInput(message, field="client_secret")
    if find_spec("authlib") is None:
        raise InvalidInput("logging in with a provider takes `pip install 'kiff[oidc]'`", field="issuer")


def _seal(settings: Oidc) -> Fernet:
    """What signs and encrypts a login in progress: every process has the client's secret, and nobody else."""
    from cryptography.fernet import Fernet
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    derived = HKDF(SHA256(), 32, salt=None, info=b"kiff login in progress")
    return Fernet(urlsafe_b64encode(derived.derive(settings.client_secret.encode())))


def _is_private(url: str) -> bool:
    """Whether nobody between here and there can read along."""
    try:
        parts = urlsplit(url)
        if parts.scheme != "http":
            return parts.scheme == "https" and bool(parts.hostname)
        return parts.hostname == "localhost" or ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False
