"""Who copies an example of an address does not give the password to whoever answers."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest

from migrator.process.url import EXAMPLE_URL
from scripts.configuration import ROOT
from tests.unit.documents.test_configuration import FILES

# Hosts of examples that are on this machine, or on the private network of containers.
PRIVATE = {"localhost", "127.0.0.1", "postgres", "rehearsal"}
ADDRESS = re.compile(r"""postgres(?:ql)?(?:\+\w+)?://[^\s"'`|)\\]+""")
# What is no address: a variable or an ellipsis in the place of the host, or the scheme alone.
ELIDED = re.compile(r"://(?:[^@/]*@)?[${…]|://[.,]")


def addresses(text: str) -> list[str]:
    found = (address.rstrip(".,;:") for address in ADDRESS.findall(text))
    return [address for address in found if not ELIDED.search(address) and "//" in address]


def is_open(address: str) -> bool:
    """Return whether libpq would not check who answers at an address of another network."""
    parts = urlsplit(address)
    parameters = parse_qs(parts.query)
    host = parts.netloc.rpartition("@")[2].partition(":")[0]
    if host in PRIVATE or (not host and parameters.get("host", [""])[0].startswith("/")):
        return False
    return parameters.get("sslmode") != ["verify-full"] or "sslrootcert" not in parameters


def test_every_example_checks_who_the_server_is() -> None:
    files = [*FILES, ROOT / ".env.example"]
    found = {
        (str(file.relative_to(ROOT)), address)
        for file in files
        for address in addresses(file.read_text("utf-8"))
    }
    assert ("README.md", "postgresql://app:secret@postgres/app") in found
    assert ("migrator/process/url.py", EXAMPLE_URL) in found
    assert sorted(example for example in found if is_open(example[1])) == []


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("postgresql://user:password@host:5432/database", True),
        ("postgresql://user:password@host:5432/database?sslmode=require", True),
        ("postgresql://user:password@host:5432/database?sslmode=verify-full", True),
        ("postgresql://db.example.org/app?sslmode=verify-ca&sslrootcert=/ca.pem", True),
        (EXAMPLE_URL, False),
        ("postgresql://user:password@localhost:5432/database", False),
        ("postgresql://user@/database?host=/var/run/postgresql", False),
    ],
)
def test_what_is_open_is_found(address: str, expected: bool) -> None:
    assert addresses(f"Write {address}.") == [address]
    assert is_open(address) is expected
