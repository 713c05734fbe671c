"""A file that others have made is written only if it is what it should be, and never waited for."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from migrator.process import outside

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_is_appended_to_or_written_anew(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("before\n")
    outside.write(str(file), b"after\n", append=True)
    assert file.read_text() == "before\nafter\n"
    outside.write(str(file), b"anew\n", append=False)
    assert file.read_text() == "anew\n"


def test_a_file_that_is_missing_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        outside.write(str(tmp_path / "file"), b"x", append=True)
    assert not list(tmp_path.iterdir())
    outside.write(str(tmp_path / "file"), b"x", append=True, create=True)
    assert (tmp_path / "file").read_text() == "x"


def test_a_link_to_nothing_makes_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").symlink_to(tmp_path / "ours")
    with pytest.raises(OSError, match="link"):
        outside.write(str(tmp_path / "file"), b"x", append=True, create=True)
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize("append", [True, False])
@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_link_leads_nowhere(tmp_path: Path, link: object, append: bool) -> None:
    assert callable(link)
    (tmp_path / "ours").write_text("ours")
    link(tmp_path / "ours", tmp_path / "file")
    with pytest.raises(OSError, match="link"):
        outside.write(str(tmp_path / "file"), b"x", append=append)
    assert (tmp_path / "ours").read_text() == "ours"


@pytest.mark.timeout(10)
@pytest.mark.parametrize("read", [True, False])
def test_a_fifo_is_refused_at_once(tmp_path: Path, read: bool) -> None:
    os.mkfifo(tmp_path / "file")
    reader = os.open(tmp_path / "file", os.O_RDONLY | os.O_NONBLOCK) if read else None
    with pytest.raises(OSError, match="it is a FIFO"):
        outside.write(str(tmp_path / "file"), b"x", append=True)
    if reader is not None:
        assert os.read(reader, 1) == b""
        os.close(reader)


def test_a_device_is_refused() -> None:
    with pytest.raises(OSError, match="it is a device"):
        outside.write(os.devnull, b"x", append=True)


def test_a_socket_and_a_folder_are_refused(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "file"))
        with pytest.raises(OSError, match="socket"):
            outside.write(str(tmp_path / "file"), b"x", append=True)
    with pytest.raises(IsADirectoryError):
        outside.write(str(tmp_path), b"x", append=True)
