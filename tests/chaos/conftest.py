"""A server that may be restarted, and the seed."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest

from tests.support.database import create_owner
from tests.support.pgbouncer import Pooler, pgbouncer
from tests.support.postgres import Server, chosen

if TYPE_CHECKING:
    from collections.abc import Iterator

# A random one by default, printed in the header and with every failure.
SEED = os.environ.get("CHAOS_SEED") or str(random.SystemRandom().randrange(10**9))


def pytest_report_header() -> str:
    """Say which seed makes this run again."""
    return f"chaos: CHAOS_SEED={SEED}"


@pytest.fixture(scope="session")
def victim() -> Iterator[Server]:
    """A server of our own, which is restarted while others would use it."""
    with chosen().open() as server:
        create_owner(server)
        yield server


@pytest.fixture(scope="session")
def pooler(victim: Server) -> Iterator[Pooler]:
    """A transaction pooler in front of it."""
    with pgbouncer(victim) as pooler:
        yield pooler
