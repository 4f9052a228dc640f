"""A login provider for tests: discovery, authorization, tokens with PKCE, and its keys, on a socket of its own.

Whoever comes is logged in at once as the person that `claims` says. It can be told to lie.
"""

from __future__ import annotations

import hmac
import json
import secrets
import threading
import time
import warnings
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from joserfc import jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, Key, KeySet, OKPKey, RSAKey

CLIENT = "kiff-client"
SECRET = "client-secret-of-the-tests"


class LoginProvider:
    """What the provider knows, and how it lies.

    Attributes:
        claims: of the person who logs in.
        lies: claims of the ID token that are replaced; None leaves one out.
        alg: how ID tokens are signed; `none` does not.
        forged: sign with a key that nobody published.
        lax: take a code more than once.
        broken: answer 500 to everything.
        refuses: send people back with this error.
        metadata: what discovery says beside the usual.
        grants: code -> what it was given for.
        asked: the paths that were asked for.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._keys: dict[str, Key] = {
            "RS256": RSAKey.generate_key(2048, {"kid": "rsa", "use": "sig"}),
            "ES256": ECKey.generate_key("P-256", {"kid": "ec", "use": "sig"}),
            "EdDSA": OKPKey.generate_key("Ed25519", {"kid": "okp", "use": "sig"}),
        }
        self._stranger = RSAKey.generate_key(2048, {"kid": "rsa", "use": "sig"})
        self.be_honest()

    def be_honest(self) -> None:
        """As it was in the beginning."""
        self.claims: dict[str, Any] = {"sub": "ann", "email": "ann@example.com", "email_verified": True}
        self.lies: dict[str, Any] = {}
        self.alg = "RS256"
        self.forged = self.lax = self.broken = False
        self.refuses = ""
        self.metadata: dict[str, Any] = {}
        self.grants: dict[str, dict[str, str]] = {}
        self.tokens: list[str] = []
        self.asked: list[str] = []

    def discovery(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            **self.metadata,
        }

    def jwks(self) -> dict[str, Any]:
        return dict(KeySet([*self._keys.values()]).as_dict(private=False))

    def authorize(self, asked: dict[str, str]) -> str:
        """Where the browser goes next."""
        assert asked["response_type"] == "code" and asked["client_id"] == CLIENT
        assert asked["code_challenge_method"] == "S256" and "openid" in asked["scope"].split()
        if self.refuses:
            return f"{asked['redirect_uri']}?{urlencode({'error': self.refuses, 'state': asked['state']})}"
        code = secrets.token_urlsafe(16)
        self.grants[code] = asked
        told = {"code": code, "state": asked["state"], "iss": self.url, "session_state": "of-no-interest"}
        return f"{asked['redirect_uri']}?{urlencode(told)}"

    def token(self, authorization: str, asked: dict[str, str]) -> dict[str, str] | None:
        """The tokens for a code; None when it is not good."""
        known = f"{CLIENT}:{SECRET}".encode()
        if b64decode(authorization.removeprefix("Basic ")) != known:
            return None
        grant = self.grants.get(asked["code"]) if self.lax else self.grants.pop(asked["code"], None)
        if grant is None or grant["redirect_uri"] != asked["redirect_uri"]:
            return None
        challenge = urlsafe_b64encode(sha256(asked["code_verifier"].encode()).digest()).rstrip(b"=").decode()
        if challenge != grant["code_challenge"]:
            return None
        self.tokens.append(self._id_token(grant["nonce"]))
        return {"access_token": secrets.token_urlsafe(16), "token_type": "Bearer", "id_token": self.tokens[-1]}

    def _id_token(self, nonce: str) -> str:
        now = int(time.time())
        usual = {"iss": self.url, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": nonce}
        claims = {name: value for name, value in (usual | self.claims | self.lies).items() if value is not None}
        if self.alg in ("none", "HS256"):
            return self._made_by_anybody(claims)
        key = self._stranger if self.forged else self._keys[self.alg]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)
            return jwt.encode({"alg": self.alg, "kid": key.kid or ""}, claims, key, [self.alg])

    def _made_by_anybody(self, claims: dict[str, Any]) -> str:
        """Not signed at all, or with the public key as if it were a secret."""
        said = ".".join(_b64(json.dumps(part).encode()) for part in ({"alg": self.alg, "kid": "rsa"}, claims))
        public = self._keys["RS256"].as_pem(private=False)
        signature = b"" if self.alg == "none" else hmac.digest(public, said.encode(), "sha256")
        return f"{said}.{_b64(signature)}"


def _b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


@contextmanager
def login_provider() -> Iterator[LoginProvider]:
    """A provider that answers until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, query = urlsplit(self.path).path, dict(parse_qsl(urlsplit(self.path).query))
            provider.asked.append(path)
            if provider.broken:
                self._tell(500, {"error": "broken"})
            elif path == "/.well-known/openid-configuration":
                self._tell(200, provider.discovery())
            elif path == "/keys":
                self._tell(200, provider.jwks())
            elif path == "/authorize":
                self._tell(302, {}, location=provider.authorize(query))
            else:
                self._tell(404, {"error": "not_found"})

        def do_POST(self) -> None:
            provider.asked.append(self.path)
            asked = dict(parse_qsl(self.rfile.read(int(self.headers["content-length"])).decode()))
            told = provider.token(self.headers.get("authorization", ""), asked)
            self._tell(*((400, {"error": "invalid_grant"}) if told is None else (200, told)))

        def _tell(self, status: int, body: dict[str, Any], **headers: str) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            usual = {"content-type": "application/json", "content-length": str(len(data))}
            for name, value in (usual | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider = LoginProvider(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
