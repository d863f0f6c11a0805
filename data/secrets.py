"""Keep credentials out of what is printed or stored: URIs without them, and text without those of the environment."""

import os
import re

# What a URI's query may say that is no secret: everything else is left out, since a name tells little of what it holds.
_HARMLESS = frozenset(
    {
        "region",
        "scheme",
        "endpoint_override",
        "allow_bucket_creation",
        "allow_bucket_deletion",
        "tls_verify_certificates",
        "replication",
        "buffer_size",
        "retry_limit_seconds",
    }
)
_ENVIRONMENT = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_URI = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://[^\s'\"<>]+")
_PORT = re.compile(r"[^:]*:[0-9]+")
_SHORTEST_SECRET = 8
_HIDDEN = "[hidden]"


def without_secrets(given: str) -> str:
    """Return a URI without user, password and every query value that might be a secret; a path comes back as it is."""
    scheme, mark, rest = given.partition("://")
    if not mark:
        return given
    place, question, query = rest.partition("?")
    if question and ("=" not in query or "/" in query.split("=")[0]):
        place, query = rest, ""  # the question mark of a glob
    kept = [_harmless(part) for part in query.split("&")] if query else []
    text = "&".join(part for part in kept if part is not None)
    return f"{scheme}://{_without_user(place)}" + (f"?{text}" if text else "")


def scrub(text: str) -> str:
    """Return text without the credentials of the URIs in it, and without those of the environment."""
    text = _URI.sub(lambda found: without_secrets(found[0]), text)
    for name in _ENVIRONMENT:
        value = os.environ.get(name, "")
        if len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, _HIDDEN)
    return text


def _without_user(place: str) -> str:
    authority, slash, path = place.partition("/")
    if "@" in authority:
        return authority.rpartition("@")[2] + slash + path
    if ":" in authority and "@" in path and not _PORT.fullmatch(authority):
        return place.rpartition("@")[2]  # a password with an unescaped slash in it
    return place


def _harmless(part: str) -> str | None:
    name, _, value = part.partition("=")
    return f"{name}={value.rpartition('@')[2]}" if name in _HARMLESS else None
