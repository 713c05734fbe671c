"""The seed, a server that may be restarted, and how many runs there were of each kind."""

from __future__ import annotations

import os
import random
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support.database import create_owner
from tests.support.postgres import Server, chosen

if TYPE_CHECKING:
    from collections.abc import Iterator

# A random one by default, printed at the end and with every failure.
SEED = os.environ.get("CHAOS_SEED") or str(random.SystemRandom().randrange(10**9))
KIND = "kind"  # the property of a test that has the kind of its run


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many runs there were of each kind, and which seed makes them again."""
    terminalreporter.write_line(f"chaos: CHAOS_SEED={SEED}")
    reports = [*terminalreporter.stats.get("passed", ()), *terminalreporter.stats.get("failed", ())]
    kinds = [dict(report.user_properties).get(KIND) for report in reports]
    for kind, count in sorted(Counter(kind for kind in kinds if kind).items()):
        terminalreporter.write_line(f"chaos: {count:5} {kind}")


@contextmanager
def told_how_to_repeat(plan: object, number: int, runs: int) -> Iterator[None]:
    """In the block, an error says what was planned, and how to have the run again.

    Args:
        plan: what the run was to do.
        number: which run it was, from 0.
        runs: how many runs there are, as CHAOS_RUNS is given.
    """
    try:
        yield
    except BaseException as error:
        error.add_note(f"{plan}\nagain with: CHAOS_SEED={SEED} CHAOS_RUNS={runs} -k '[{number}-'")
        raise


@pytest.fixture(scope="session")
def victim() -> Iterator[Server]:
    """A server of our own, which is restarted while others would use it."""
    with chosen().open() as server:
        create_owner(server)
        yield server
