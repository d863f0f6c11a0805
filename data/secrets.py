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
# Further options of pyarrow's filesystems, which begin a query as those above do.
_SECRET = frozenset(
    {"access_key", "secret_key", "session_token", "role_arn", "external_id", "sas_token", "account_key"}
)
_ENVIRONMENT = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
# Up to the last "@" a URI may hold quotes, which a password may; behind it, quotes end it.
_URI = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://(?:\S*@)?[^\s'\"<>]*")
_PORT = re.compile(r"(?:[^:]*|\[[0-9a-fA-F:]+\]):[0-9]*")
# Their URIs name a host, and no password: what looks like a port is one, and an "@" behind the host stands in a path.
_WITH_PORT = frozenset({"hdfs", "viewfs"})
_MIN_SECRET_LENGTH = 8
_HIDDEN = "[hidden]"


def without_secrets(given: str) -> str:
    """Return a URI without user, password and every query value that might be a secret.

    Whatever stands between ``://`` and the last ``@`` is secret: in a password, slashes and question marks are often
    not escaped. An object key with an ``@`` looks the same, and is shown from there on only; a path that follows a
    host, or no host at all, comes back as it is.
    """
    scheme, mark, rest = given.partition("://")
    if not mark:
        return given
    address, query = _split_query(scheme, rest)
    kept = [_harmless(option) for option in query.split("&")] if query else []
    text = "&".join(option for option in kept if option is not None)
    return f"{scheme}://{_without_user(scheme, address)}" + (f"?{text}" if text else "")


def _split_query(scheme: str, rest: str) -> tuple[str, str]:
    """Return what stands before the query, and the query; a question mark in a glob or a password begins none."""
    address, question, query = rest.partition("?")
    names = [option.partition("=")[0] for option in query.split("&")]
    if not question or "=" not in query or "/" in names[0]:
        return rest, ""
    is_query = names[0] in _HARMLESS | _SECRET
    if "@" in query and not is_query and _may_hold_password(scheme, address):
        # A password with a question mark, or an unknown option with an "@": either way nothing before it is shown.
        return (f"@{_HIDDEN}" if "@" in address else rest), ""
    return address, query


def scrub(text: str) -> str:
    """Return text without the credentials of the URIs in it, and without those of the environment."""
    text = _URI.sub(lambda found: without_secrets(found[0]), text)
    for name in _ENVIRONMENT:
        value = os.environ.get(name, "")
        if len(value) >= _MIN_SECRET_LENGTH:
            text = text.replace(value, _HIDDEN)
    return text


def _without_user(scheme: str, address: str) -> str:
    authority, slash, path = address.partition("/")
    if "@" in path and _may_hold_password(scheme, address):
        shown = address.rpartition("@")[2]  # of a password with an unescaped slash in it
        return shown if ":" in authority else f"{_HIDDEN}/{shown}"  # or perhaps of an object key
    if "@" not in authority and ":" in authority and not _PORT.fullmatch(authority):
        return _HIDDEN + slash + path  # the beginning of a password whose end was cut off
    return authority.rpartition("@")[2] + slash + path


def _may_hold_password(scheme: str, address: str) -> bool:
    """Whether a password may stand before an "@": not behind a host, nor in the path of a local file."""
    authority = address.partition("/")[0]
    names_host = scheme.lower() in _WITH_PORT and (":" not in authority or _PORT.fullmatch(authority))
    return bool(authority) and not names_host


def _harmless(option: str) -> str | None:
    name, _, value = option.partition("=")
    return f"{name}={value.rpartition('@')[2]}" if name in _HARMLESS else None
