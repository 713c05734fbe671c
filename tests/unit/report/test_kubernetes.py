"""The reason that a container ends with, as Kubernetes shows it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from migrator.report import kubernetes
from migrator.report.kubernetes import reason

if TYPE_CHECKING:
    from pathlib import Path


def test_may_name_what_is_not_utf_8() -> None:
    assert reason("größe " + os.fsdecode(b"\xf6")) == "größe <U+DCF6>".encode()


def test_is_cut_between_two_characters() -> None:
    data = reason("ü" * 3000)
    assert len(data) <= 4096
    assert data.decode().endswith("ü …")


def test_has_no_escapes_of_others() -> None:
    assert reason("a\x1b[2J\n::error::x") == b"a<U+001B>[2J\n<U+003A>:error::x"


class TestFile:
    @pytest.fixture
    def path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        path = tmp_path / "termination-log"
        monkeypatch.setattr(kubernetes, "_TERMINATION_LOG", str(path))
        return path

    def test_is_written_anew(self, path: Path) -> None:
        path.write_text("of an earlier run, and longer")
        kubernetes.leave_reason("error: x")
        assert path.read_text() == "error: x"

    def test_that_is_missing_is_not_made_nor_told(self, path: Path) -> None:
        with capture_logs() as logged:
            kubernetes.leave_reason("error: x")
        assert not path.exists()
        assert not logged

    @pytest.mark.timeout(10)
    @pytest.mark.parametrize("kind", ["FIFO", "link"])
    def test_that_is_no_file_is_left_alone_and_told(
        self, path: Path, tmp_path: Path, kind: str
    ) -> None:
        (tmp_path / "ours").write_text("ours")
        if kind == "FIFO":
            os.mkfifo(path)
        else:
            path.symlink_to(tmp_path / "ours")
        with capture_logs() as logged:
            kubernetes.leave_reason("error: x")
        assert (tmp_path / "ours").read_text() == "ours"
        [line] = logged
        assert (line["event"], line["file"]) == ("reason not written", str(path))
        assert kind in line["reason"]
