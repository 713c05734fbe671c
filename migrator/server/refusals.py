"""Why a server refuses a connection, read from its message, and whether waiting may help."""

from __future__ import annotations

import re
from typing import NamedTuple

from migrator.process.log import redact
from migrator.server.session import LONGEST_PAUSE, READ_ONLY, READ_ONLY_HINT, Refused

# The longest pause, in seconds, for a server that is starting, since every deployment waits for it.
_SOON = 0.2


class _Refusal(NamedTuple):
    """A pattern in the message of the server or of libpq, and what follows from it.

    Attributes:
        pattern: a regular expression.
        reason: the reason in the migrator's words.
        final: whether waiting cannot help.
        hint: what to do about it; may be empty.
        pause: the longest pause between two attempts, in seconds.
    """

    pattern: str
    reason: str
    final: bool
    hint: str = ""
    pause: float = LONGEST_PAUSE


# libpq does not give the SQLSTATE of a refused connection, so the words of the message decide. A
# refusal that is not in this table is not final: the attempt is repeated until the wait is over.
_REFUSALS = (
    _Refusal(
        r"no password supplied",
        "the server wants a password, and none was given",
        final=True,
        hint="Put it into DATABASE_URL, POSTGRES_PASSWORD or the file of POSTGRES_PASSWORD_FILE.",
    ),
    _Refusal(
        r"password authentication failed|SCRAM authentication"
        r"|(?:LDAP|PAM|RADIUS|SASL) authentication failed|\bauth failed|no such user",
        "wrong password",
        final=True,
        hint="Check the user and the password in DATABASE_URL or POSTGRES_PASSWORD_FILE; the "
        "server gives the same answer if the role does not exist. If POSTGRES_PASSWORD of the "
        "image postgres was changed later, the volume still has the password of the first start.",
    ),
    _Refusal(
        r"(?:Peer|Ident|GSSAPI|SSPI|[Cc]ertificate) authentication failed",
        "the server does not accept this login",
        final=True,
        hint="pg_hba.conf of the server says how this role logs in from here; it may need another "
        "user name, or a map in pg_ident.conf.",
    ),
    _Refusal(
        r'role "[^"]*" does not exist',
        "the role does not exist",
        final=True,
        hint="Create it, or correct the user in DATABASE_URL.",
    ),
    _Refusal(
        r"is not permitted to log in",
        "the role may not log in",
        final=True,
        hint="Allow it with ALTER ROLE ... LOGIN.",
    ),
    _Refusal(
        r'database "[^"]*" does not exist|no such database',
        "the database does not exist",
        final=True,
        hint="Create it (CREATE DATABASE), or correct the name in DATABASE_URL.",
    ),
    _Refusal(
        r"permission denied for database",
        "the role may not connect to the database",
        final=True,
        hint="Allow it with GRANT CONNECT ON DATABASE ... TO the role.",
    ),
    _Refusal(
        r"no pg_hba\.conf entry|pg_hba\.conf rejects",
        "the server's pg_hba.conf does not allow the connection",
        final=True,
        hint="Add an entry for this client, or set sslmode as the server requires.",
    ),
    _Refusal(
        r"server certificate for .* does not match",
        "the server's certificate is for another name",
        final=True,
        hint="Write a name that the certificate has as the host in DATABASE_URL (hostaddr may give "
        "the address), or give the server a certificate for this name. sslmode=verify-ca does not "
        "compare names.",
    ),
    _Refusal(
        r"root certificate file",
        "the root certificate cannot be read",
        final=True,
        hint="Let sslrootcert in DATABASE_URL, or PGSSLROOTCERT, name a PEM file that is in the "
        "container and that the migrator may read.",
    ),
    _Refusal(
        r"private key file|certificate file",
        "the client's certificate cannot be used",
        final=True,
        hint="Check sslcert and sslkey: both files have to be in the container, and only their "
        "owner may read the key.",
    ),
    _Refusal(
        r"certificate verify failed",
        "the server's certificate is not trusted",
        final=True,
        hint="Let sslrootcert in DATABASE_URL name a file with the certificate of the authority "
        "that issued the server's, or be `system` for the authorities that the image trusts. "
        "Outside of the image, `system` is the file that SSL_CERT_FILE names. A certificate that "
        "has expired has to be renewed. If nobody has "
        "changed anything, somebody else may be answering in the place of the server.",
    ),
    _Refusal(
        r"server does not support SSL",
        "client and server could not agree on TLS",
        final=True,
        hint="Give the server a certificate (`ssl = on`). Only on a private network, take sslmode "
        "and sslrootcert out of DATABASE_URL instead.",
    ),
    _Refusal(
        r"certificate \"|sslmode|SSL error(?!: unexpected eof)",
        "client and server could not agree on TLS",
        final=True,
        hint="Check sslmode and sslrootcert.",
    ),
    _Refusal(
        r"unsupported startup parameter",
        "a pooler does not let an option through",
        final=True,
        hint="Take the option out of DATABASE_URL (and `options` out of PGOPTIONS), and set the "
        "same for the role: ALTER ROLE ... SET ... TO .... Or connect to PostgreSQL itself.",
    ),
    _Refusal(
        r"unrecognized configuration parameter|invalid value for parameter",
        "the server does not take an option",
        final=True,
        hint="Correct `options` in DATABASE_URL or PGOPTIONS.",
    ),
    _Refusal(
        r"definition of service|service file",
        "the service is not known",
        final=True,
        hint="Check PGSERVICE, or `service` in DATABASE_URL, and the file that has the services: "
        "PGSERVICEFILE names it, else it is ~/.pg_service.conf.",
    ),
    _Refusal(
        r"server requested a cleartext password",
        "the server asks for the password in clear",
        final=True,
        hint="The password was not sent, because require_auth in DATABASE_URL forbids it. If the "
        "server is yours, let pg_hba.conf (or the pooler) ask by scram-sha-256. If it does so "
        "already, somebody else is answering in its place.",
    ),
    _Refusal(
        r"authentication method requirement|channel binding required|encryption required but",
        "the server does not log in as the settings demand",
        final=True,
        hint="Check require_auth, channel_binding and gssencmode in DATABASE_URL.",
    ),
    _Refusal(
        r"local user with ID \d+ does not exist|no PostgreSQL user name specified",
        "no user is given",
        final=True,
        hint="Write the user into DATABASE_URL, or set PGUSER.",
    ),
    _Refusal(
        r"could not translate host name|Name or service not known|name resolution",
        "the host name does not resolve",
        final=False,
        hint="Check the host in DATABASE_URL, and that both containers share a network.",
    ),
    _Refusal(
        r"Connection refused|No such file or directory",
        "the connection is refused",
        final=False,
        hint="Check that the server runs and listens on that host and port.",
        pause=_SOON,
    ),
    _Refusal(
        r"not (?:yet )?accepting connections", "the server is in recovery", final=False, pause=_SOON
    ),
    _Refusal(
        r"session is read-only|server is in hot standby mode",
        READ_ONLY,
        final=False,
        hint=READ_ONLY_HINT,
    ),
    _Refusal(r"starting up", "the server is starting up", final=False, pause=_SOON),
    _Refusal(r"shutting down", "the server is shutting down", final=False, pause=_SOON),
    _Refusal(
        r"in recovery mode", "the server is in recovery after a crash", final=False, pause=_SOON
    ),
    _Refusal(
        r"too many connections for role",
        "the role has reached its limit of connections",
        final=False,
        hint="Raise it with ALTER ROLE ... CONNECTION LIMIT, or close some sessions of the role.",
    ),
    _Refusal(
        r"too many connections for database",
        "the database has reached its limit of connections",
        final=False,
        hint="Raise it with ALTER DATABASE ... CONNECTION LIMIT, or close some of its sessions.",
    ),
    _Refusal(
        r"too many (clients|connections)|remaining connection slots|no more connections allowed",
        "too many clients",
        final=False,
        hint="Raise max_connections, or let the other clients use fewer connections.",
    ),
    _Refusal(
        r"timeout expired|timed out|No route to host|unreachable",
        "the server does not answer",
        final=False,
        hint="Check the host and the port in DATABASE_URL, and firewalls in between.",
    ),
    _Refusal(
        r"closed the connection|reset by peer|terminating connection|SSL SYSCALL error"
        r"|unexpected eof",
        "the connection was closed",
        final=False,
        pause=_SOON,
    ),
)


# The last words of a server that ends the connection again if the same is sent again. The server
# says them in its language, and those that are not known here are followed by some more tries.
_LOST_FOR_GOOD = {
    "due to transaction timeout": "A transaction lasted longer than transaction_timeout allows. "
    "The migrator switches the limit of the role off, so look for one that the file sets, or a "
    "function that it calls: remove it, or make it longer. Then run the migrator again.",
    "statement pooling mode": "In this mode a pooler allows no transactions. Connect to "
    "PostgreSQL itself, or to a pooler in transaction or session mode.",
}


# libpq begins a line with one of these once it tries to reach a host.
_REACHING = ("connection to server ", "could not translate host name ")
_UNUSABLE = _Refusal(
    "",
    "libpq cannot use the connection settings",
    final=True,
    hint="Correct DATABASE_URL, or the PG* variables.",
)
_UNKNOWN = _Refusal(
    "",
    "the server refuses the connection",
    final=False,
    hint="The words are the server's. The migrator does not know them, so it cannot tell whether "
    "waiting helps.",
)


def refused(message: str) -> Refused:
    """Return the error for the message with which libpq refused a connection."""
    detail = " ".join(redact(message).split())
    # With several hosts the message has a line for each; one host that may come up is enough to
    # wait for.
    refusals = [_refusal(part) for part in re.split(rf"\n(?={'|'.join(_REACHING)})", message)]
    first = next((refusal for refusal in refusals if not refusal.final), refusals[0])
    return Refused(first.reason, detail, first.hint, final=first.final, pause=first.pause)


def _refusal(part: str) -> _Refusal:
    """Find what the message about one host means; those that are final come first in the table."""
    for refusal in _REFUSALS:
        if re.search(refusal.pattern, part):
            return refusal
    # What libpq finds wrong with the settings it says before it reaches for a host.
    is_client = "FATAL" not in part and not part.startswith(_REACHING)
    return _UNUSABLE if is_client else _UNKNOWN


def lost_for_good(words: str) -> str:
    """Return what to do about a lost connection, if every other try would end in the same way.

    Args:
        words: the last words of the server.

    Returns:
        A sentence or two; empty when another try may succeed.
    """
    return next((hint for pattern, hint in _LOST_FOR_GOOD.items() if re.search(pattern, words)), "")
