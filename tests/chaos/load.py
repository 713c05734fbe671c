"""An application that updates a table all the time, whatever happens to the server: pgbench."""

from __future__ import annotations

import subprocess
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.support.database import ANOTHER_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.database import Database

CLIENTS = 4
PER_SECOND = 300  # in all; the machine has other things to do as well


@contextmanager
def updates(database: Database) -> Iterator[None]:
    """Update rows of `pgbench_accounts` until the end, and check that some were.

    The table belongs to the database's owner, so that migrations can change it.
    """
    program = str(database.server.bin / "pgbench")
    subprocess.run(
        [program, "--initialize", "--quiet", database.admin_url], check=True, capture_output=True
    )
    database.execute(f"{ANOTHER_FOLDER} ALTER TABLE pgbench_accounts OWNER TO {database.user}")
    command = [
        program,
        f"--client={CLIENTS}",
        f"--rate={PER_SECOND}",
        "--builtin=simple-update",
        "--time=600",
        "--no-vacuum",
        database.admin_url,
    ]
    ended = threading.Event()

    def keep_running() -> None:
        # It gives up when the server is restarted.
        while not ended.is_set():
            with subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            ) as running:
                while running.poll() is None and not ended.wait(0.05):
                    pass
                running.kill()

    thread = threading.Thread(target=keep_running)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    [(count,)] = database.execute("SELECT count(*) FROM pgbench_history")
    assert count, "nothing was updated"
