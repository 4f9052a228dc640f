"""The session of a browser: a cookie that no script reads and no other site's page can make use of."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.requests import Request

from kiff.errors import Forbidden

SESSION = "kiff_session"
_SAFE = frozenset({"GET", "HEAD"})


def session_of(request: Request) -> str | None:
    """The secret in the session's cookie; None when there is none.

    Raises:
        Forbidden: it would change something, and it is not sure that a page of this server asks for that.
    """
    secret = request.cookies.get(SESSION)
    if secret is None or request.method in _SAFE or _is_ours(request):
        return secret
    message = f"with the cookie `{SESSION}`, changes come from a page of this server; elsewhere, send a key"
    raise Forbidden(message, reason="forbidden")


def set_cookie(name: str, value: str, *, path: str, seconds: int, secure: bool, strict: bool) -> str:
    """The value of a Set-Cookie header. No seconds: the browser forgets it.

    Args:
        secure: only over TLS.
        strict: not even when a link of another site leads here.
    """
    parts = [f"{name}={value}", f"Path={path}", f"Max-Age={seconds}", "HttpOnly"]
    parts.append(f"SameSite={'Strict' if strict else 'Lax'}")
    return "; ".join([*parts, "Secure"] if secure else parts)


def _is_ours(request: Request) -> bool:
    """Whether a page of this very server sends this. A browser says where a request comes from, and no page can lie."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin, host = request.headers.get("origin"), request.headers.get("host")
    return bool(host) and origin is not None and urlsplit(origin).netloc == host
