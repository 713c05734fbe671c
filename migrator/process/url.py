"""Turns the usual spellings of a database URL into the spelling that libpq reads."""

from __future__ import annotations

import re

from migrator.process.errors import UsageError

# For a hint. By default libpq does not check who the server is, so an example without these
# parameters would give the password to whoever answers.
EXAMPLE_URL = "postgresql://user:password@host:5432/database?sslmode=verify-full&sslrootcert=system"

_SCHEME = re.compile(r"(postgres(?:ql)?)(\+\w+)?://", re.ASCII)
_URL = re.compile(
    r"""(?: (?P<user>[^:@/]*) (?: :(?P<password>[^@/]*) )? @ )?
        (?P<hosts>[^@/?#]*)
        (?: /(?P<database>[^@/?#]*) )?
        (?: \?(?P<parameters>[^@#]*) )?""",
    re.VERBOSE,
)
_HOST = re.compile(r"(?:\[[^\]]*\]|[^:\[\]]*)(?::\d*)?", re.ASCII)
_FIELD = r"(\w+)\s*=\s*('(?:[^'\\]|\\.)*'|(?:[^\s'\\]|\\.)*)"
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ENCODE = (
    "Percent-encode @ : / % # ? in the user name and the password (for example @ as %40, / as %2F, "
    "% as %25), or give the password in POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE as it is."
)


def normalise_url(url: str, name: str = "DATABASE_URL") -> str:
    """Turn any usual spelling of a database URL into the spelling that libpq reads.

    libpq takes everything up to the first `@` as user and password, and the first `/` ends this
    part (PostgreSQL documentation, "Connection URIs"). So libpq would cut a password with one of
    these characters in two, and print the second part as a host name. Such a URL is refused here.

    Args:
        url: the URL, or libpq's keyword/value string, which is returned unchanged.
        name: the variable that contains the URL, for the messages.

    Raises:
        UsageError: the URL cannot be read. The message does not contain the URL.
    """
    url = url.strip()
    scheme = _SCHEME.match(url)
    if scheme is None:
        if "://" not in url and "=" in url:
            return url
        raise UsageError(
            f"{name} does not begin with postgresql:// or postgres://",
            f"Write {EXAMPLE_URL}.",
        )
    rest = url[scheme.end() :]
    match = _URL.fullmatch(rest)
    if match is None or (match["user"] is None and "@" in rest):
        raise UsageError(f"{name} cannot be read", _ENCODE)
    escaped = ("user", "password", "hosts", "database", "parameters")
    if any(_BAD_ESCAPE.search(match[part] or "") for part in escaped):
        raise UsageError(f"{name} has a % that is not followed by two hexadecimal digits", _ENCODE)
    if not _is_text(rest):
        raise UsageError(f"{name} has a %XX that is not UTF-8 text", _ENCODE)
    if not all(_HOST.fullmatch(host) for host in match["hosts"].split(",")):
        # If the host is missing, the text in the place of the port is the password, so the message
        # does not show that text.
        raise UsageError(
            f"{name} has a port that is not a number",
            f"Write {EXAMPLE_URL}.",
        )
    if scheme[2] == "+asyncpg":
        rest = re.sub(r"([?&])ssl=", r"\1sslmode=", rest)
    return f"postgresql://{rest}"


def secret_of(url: str) -> tuple[str, frozenset[str]]:
    """Return the password of a URL, or of a keyword/value string, and the names beside it.

    It is for hiding the password before a driver has read the URL, and is not as exact as the
    driver: what it does not find is hidden when the migrator connects.

    Args:
        url: what `normalise_url` returned.
    """
    if "://" not in url:
        fields = {match[1]: _unquoted(match[2]) for match in re.finditer(_FIELD, url)}
        beside = (fields.get(name, "") for name in ("user", "dbname", "host"))
        return fields.get("password", ""), frozenset(beside)
    match = _URL.fullmatch(url.partition("://")[2])
    if match is None:
        return "", frozenset()
    parameter = re.search(r"(?:^|&)password=([^&]*)", match["parameters"] or "")
    password = parameter[1] if parameter else match["password"] or ""
    names = (match["user"] or "", match["database"] or "", match["hosts"].partition(":")[0])
    return _decoded(password), frozenset(map(_decoded, names))


def _decoded(text: str) -> str:
    """Return a part of a URL without its percent-encoding."""
    if "%" not in text:
        return text
    from urllib.parse import unquote  # noqa: PLC0415 - few passwords need it

    return unquote(text)


def _unquoted(value: str) -> str:
    """Return a value of a keyword/value string without its quotes and escapes."""
    inner = value[1:-1] if value.startswith("'") else value
    return re.sub(r"\\(.)", r"\1", inner)


def _is_text(escaped: str) -> bool:
    """Return whether the decoded form is UTF-8 without a NUL, which C strings cannot contain."""
    if "%" not in escaped:
        return "\0" not in escaped
    from urllib.parse import unquote  # noqa: PLC0415 - few passwords need it

    try:
        return "\0" not in unquote(escaped, errors="strict")
    except UnicodeDecodeError:
        return False
