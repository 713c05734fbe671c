"""What `make test` says before it begins: how long it takes here, and what is left out.

    python -m tests.support.beforehand '-n 3 tests/unit' 'tests/chaos'

Each argument is a command line of pytest. What it took the last time on the same server is known
from pytest's cache. The first time it is estimated, by how quick this machine is and how many cores
it has.
"""

from __future__ import annotations

import json
import os
import resource
import shlex
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.postgres import ServerError, chosen

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
CACHED = "migrator/seconds"  # the name of our value in pytest's cache
CONTAINERS = "tests/container"  # needs a Docker engine
# Seconds, rounded, on an idle machine with CORES, where a migrator needs START of a core's time.
REFERENCE = {
    "tests/unit": 60,
    "tests/integration": 780,
    "tests/container": 780,
    "tests/chaos": 150,
}
CORES = 2
WORKERS = 3  # as many as the Makefile has
START = 0.13
STARTS = 5


def engine_problem() -> str:
    """Return why no container can be started, in words; empty when the engine answers."""
    try:
        answer = subprocess.run(
            ["docker", "version", "--format", "{{.Server.Version}}"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if answer.returncode == 0 and answer.stdout.strip():
        return ""
    return answer.stderr.strip() or "docker version names no server"


def left_out(problem: str) -> str:
    """Return in one line that the tests of containers are left out.

    Args:
        problem: what `engine_problem` returned.
    """
    reason = " ".join(problem.split())
    return f"{CONTAINERS} is left out: no Docker engine answers ({reason})"


def key(arguments: Sequence[str]) -> str:
    """Return the name under which the cache has how long a command line of pytest took."""
    return f"{shlex.join(arguments)} [{chosen().description}]"


def announcement(lines: Sequence[str], took: dict[str, float], *, has_engine: bool) -> str:
    """Return how long command lines of pytest are going to take, in one line.

    Args:
        lines: the command lines.
        took: how many seconds each took the last time, by `key`.
        has_engine: whether containers can be started.
    """
    arguments = [shlex.split(line) for line in lines]
    known = [took.get(key(words)) for words in arguments]
    slower = 1.0 if None not in known else slowness()
    parts = {}
    for words, seconds in zip(arguments, known, strict=True):
        folders = [word for word in words if word.startswith("tests/")]
        if not has_engine and CONTAINERS in folders:
            folders.remove(CONTAINERS)
        if not folders:
            continue
        cores = CORES / min(os.cpu_count() or 1, WORKERS) if "-n" in words else 1
        estimate = slower * cores * sum(REFERENCE[folder] for folder in folders)
        parts[" and ".join(folders)] = estimate if seconds is None else seconds
    how = "as last time" if None not in known else "estimated; the next time it is known"
    each = ", ".join(f"{folders} {minutes(seconds)}" for folders, seconds in parts.items())
    return f"The tests take about {minutes(sum(parts.values()))} here ({how}): {each}."


def minutes(seconds: float) -> str:
    """Return a time in words, in whole minutes."""
    number = max(1, round(seconds / 60))
    return "1 minute" if number == 1 else f"{number} minutes"


def slowness() -> float:
    """Return how many times longer this machine takes than the one of REFERENCE."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(STARTS):
        subprocess.run(
            [sys.executable, "-m", "migrator", "validate"],
            check=True,
            cwd=ROOT,
            env={"PATH": os.environ.get("PATH", os.defpath)},
            capture_output=True,
        )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return used / STARTS / START


def last_times() -> dict[str, float]:
    """Return what pytest's cache has."""
    with suppress(OSError, ValueError):
        found: dict[str, float] = json.loads((ROOT / ".pytest_cache/v" / CACHED).read_bytes())
        return found
    return {}


def main(lines: Sequence[str]) -> int:
    """Say it; fail where the tests cannot be run."""
    try:
        server = chosen().description
    except ServerError as error:
        print(error, file=sys.stderr)
        return 1
    problem = engine_problem()
    if problem and os.environ.get("CI") == "true":
        print(f"{left_out(problem)}, and CI has to run it.", file=sys.stderr)
        return 1
    print(announcement(lines, last_times(), has_engine=not problem))
    print(f"The server is {server}.")
    if problem:
        print(f"{left_out(problem)}.")
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
