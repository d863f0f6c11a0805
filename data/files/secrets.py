"""Remove credentials from URIs and text before they are printed or stored."""

import os
import re

# Query options of a URI that are not secret. All others are removed, since their names do not show what they hold.
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
# Secret options of pyarrow's filesystems; like those above, they identify a query.
_SECRET = frozenset(
    {"access_key", "secret_key", "session_token", "role_arn", "external_id", "sas_token", "account_key"}
)
_ENVIRONMENT = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
# A password, up to the last "@" of a URI, may contain quotes; after it, quotes end the URI.
_URI = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://(?:\S*@)?[^\s'\"<>]*")
_PORT = re.compile(r"(?:[^:]*|\[[0-9a-fA-F:]+\]):[0-9]*")
# Schemes whose URIs have a host and no password: a port is a port, and an "@" after the host belongs to the path.
_WITH_PORT = frozenset({"hdfs", "viewfs"})
_MIN_SECRET_LENGTH = 8
_HIDDEN = "[hidden]"


def without_secrets(given: str) -> str:
    """Return a URI without user, password and all query values that might be secret.

    Everything between ``://`` and the last ``@`` is removed, since slashes and question marks in passwords are often
    not escaped. An object key with an ``@`` looks the same, so only the rest of it is shown. A path after a host that
    has no password, or without a host, is returned unchanged.
    """
    scheme, mark, rest = given.partition("://")
    if not mark:
        return given
    address, query = _split_query(scheme, rest)
    kept = [_harmless(option) for option in query.split("&")] if query else []
    text = "&".join(option for option in kept if option is not None)
    return f"{scheme}://{_without_user(scheme, address)}" + (f"?{text}" if text else "")


def _split_query(scheme: str, rest: str) -> tuple[str, str]:
    """Split off the query; a question mark in a glob or a password does not start one."""
    address, question, query = rest.partition("?")
    names = [option.partition("=")[0] for option in query.split("&")]
    if not question or "=" not in query or "/" in names[0]:
        return rest, ""
    is_query = names[0] in _HARMLESS | _SECRET
    if "@" in query and not is_query and _may_hold_password(scheme, address):
        # A password with a question mark, or an unknown option with an "@": in both cases hide everything before it.
        return (f"@{_HIDDEN}" if "@" in address else rest), ""
    return address, query


def scrub(text: str) -> str:
    """Return text without the credentials of URIs and of the environment."""
    text = _URI.sub(lambda found: without_secrets(found[0]), text)
    for name in _ENVIRONMENT:
        value = os.environ.get(name, "")
        if len(value) >= _MIN_SECRET_LENGTH:
            text = text.replace(value, _HIDDEN)
    return text


def _without_user(scheme: str, address: str) -> str:
    authority, slash, path = address.partition("/")
    if "@" in path and _may_hold_password(scheme, address):
        shown = address.rpartition("@")[2]  # after a password with an unescaped slash
        return shown if ":" in authority else f"{_HIDDEN}/{shown}"  # or perhaps after an object key
    if "@" not in authority and ":" in authority and not _PORT.fullmatch(authority):
        return _HIDDEN + slash + path  # the start of a password whose end is missing
    return authority.rpartition("@")[2] + slash + path


def _may_hold_password(scheme: str, address: str) -> bool:
    """Return whether a password may precede an "@", which is not so after a host or in the path of a local file."""
    authority = address.partition("/")[0]
    names_host = scheme.lower() in _WITH_PORT and (":" not in authority or _PORT.fullmatch(authority))
    return bool(authority) and not names_host


def _harmless(option: str) -> str | None:
    name, _, value = option.partition("=")
    return f"{name}={value.rpartition('@')[2]}" if name in _HARMLESS else None
