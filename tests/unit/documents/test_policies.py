"""docs/verify.md says where `verify` and pg_dump do not agree, and why."""

from __future__ import annotations

from scripts.policies import DOCUMENT, POLICIES, documentation


def test_the_document_has_every_policy() -> None:
    text = DOCUMENT.read_text("utf-8")
    assert text == documentation(text), "run `make docs`"
    for policy in POLICIES:
        assert f"| {policy.what} | {policy.seen_by} | {policy.reason} |" in text
    assert len({policy.name for policy in POLICIES}) == len(POLICIES)
