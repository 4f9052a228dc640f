"""One address that is posted JSON, with a key that goes nowhere else and into no message."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

MAX_ANSWER_BYTES = 1_048_576

MEANING = {
    400: "it does not understand the request; does this model know tools?",
    401: "the key is not accepted",
    403: "the key may not do this",
    404: "there is no such address or model",
    429: "too many requests, or no credit left; try again later",
}


class ModelError(Exception):
    """The model cannot be asked, or its answer is none; one line that says what to do. It never holds the key."""


class Endpoint(NamedTuple):
    """Where a model is, and how to speak to it.

    Args:
        key: sent as `Authorization: Bearer`.
        key_name: the variable that it came from.
    """

    url: str
    key: str
    key_name: str
    timeout: float

    def ask(self, request: Mapping[str, Any]) -> Any:
        """Posts JSON and gives the JSON of the answer.

        Raises:
            ModelError: whatever went wrong, without the key and without what the other side said about it.
        """
        host = urlsplit(self.url).hostname
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        posted = Request(self.url, json.dumps(request).encode(), headers)
        try:
            with _opener(self.url).open(posted, timeout=self.timeout) as response:
                answer = response.read(MAX_ANSWER_BYTES + 1)
        except HTTPError as error:
            error.close()
            raise ModelError(f"{host} answered {error.code}: {_meaning(error.code, self.key_name)}") from None
        except TimeoutError:
            raise ModelError(f"{host} did not answer within {self.timeout:g} seconds") from None
        except (OSError, HTTPException) as error:
            raise ModelError(f"{host} cannot be reached: {_reason(error, self.timeout)}") from None
        if len(answer) > MAX_ANSWER_BYTES:
            raise ModelError(f"{host} answered with more than {MAX_ANSWER_BYTES} bytes")
        try:
            return json.loads(answer)
        except (ValueError, RecursionError):
            raise ModelError(f"{host} did not answer with JSON; is the address right?") from None


def bearer_key(environment: Mapping[str, str], name: str) -> str:
    key = environment.get(name, "").strip()
    if not key:
        raise ModelError(f"`{name}` is not set; it holds the key, and a local endpoint without keys takes any text")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ModelError(f"`{name}` has a character in it that no key has; copy it again")
    return key


def address(url: str, name: str) -> str:
    """The address without its last slash: https, or http to this machine."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ModelError(f"`{name}` is not an address") from None
    strange = parts.query or parts.fragment or "@" in parts.netloc or port == 0 or not url.isprintable() or " " in url
    if strange or not parts.hostname:
        raise ModelError(f"`{name}` must be an address such as https://host/v1, without user, query or fragment")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_here(parts.hostname)):
        raise ModelError(f"`{name}` must begin with https://; http:// would show the key to everybody on the way")
    return url.rstrip("/")


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _NoRedirect(HTTPRedirectHandler):
    """A redirect would take the key elsewhere."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _opener(url: str) -> OpenerDirector:
    """With the proxy of the environment, but not to this machine."""
    here = _is_here(urlsplit(url).hostname or "")
    return build_opener(_NoRedirect, *([ProxyHandler({})] if here else []))


def _meaning(status: int, key_name: str) -> str:
    if 300 <= status < 400:
        return "it points elsewhere, and the key goes nowhere else; give the final address"
    said = MEANING.get(status, "it failed; try again later" if status >= 500 else "it refused the request")
    return f"{said} (`{key_name}`)" if status in (401, 403) else said


def _reason(error: Exception, timeout: float) -> str:
    """Why, in words. A URLError holds the reason of the system, an HTTPException the bytes it did not like."""
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, TimeoutError):
        return f"no answer within {timeout:g} seconds"
    return getattr(reason, "strerror", None) or type(reason).__name__
