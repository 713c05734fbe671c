"""The reason that a container ends with, as Kubernetes shows it."""

from __future__ import annotations

import os

from migrator.report.kubernetes import reason


def test_may_name_what_is_not_utf_8() -> None:
    assert reason("größe " + os.fsdecode(b"\xf6")) == "größe <U+DCF6>".encode()


def test_is_cut_between_two_characters() -> None:
    data = reason("ü" * 3000)
    assert len(data) <= 4096
    assert data.decode().endswith("ü …")
