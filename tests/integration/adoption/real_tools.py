"""Other migration tools as their users run them: their files, and the commands up and status."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.database import Database

    # Writes the files that make these tables, in their order, and what configures the tool.
    LayOut = Callable[[Path, list[str]], None]

NODE = Path(__file__).parent / "node"
GEMS = Path("/usr/share/rubygems-integration")  # where Debian's packages have them
STAMP = 20240101000000


@dataclass(frozen=True)
class RealTool:
    """One tool.

    Attributes:
        name: as in the catalogue.
        program: its path; None when it is not installed.
        lay_out: writes its files.
        up: the arguments that apply everything pending.
        status: the arguments that show what is applied.
        versions: the versions of its first two migrations; None when its names do not show them.
        url: its spelling of the database's address.
        taken: whether its table has the name of ours.
    """

    name: str
    program: str | None
    lay_out: LayOut
    up: tuple[str, ...]
    status: tuple[str, ...]
    versions: tuple[int, int] | None = (STAMP + 1, STAMP + 2)
    url: str = "{url}"
    taken: bool = False

    def run(self, database: Database, folder: Path, arguments: tuple[str, ...]) -> str:
        """Run the program as the owner of the database, and return what it says."""
        assert self.program
        parts = urlsplit(database.url)
        url = self.url.format(url=database.url, rest=database.url.partition(":")[2])
        words = {"url": url, "host": parts.hostname, "port": parts.port, "name": database.name}
        done = subprocess.run(
            [self.program, *(argument.format(**words) for argument in arguments)],
            cwd=folder,
            env={
                **os.environ,
                "DATABASE_URL": url,
                "HOME": str(folder),
                "NODE_PATH": str(NODE / "node_modules"),
                "SQITCH_FULLNAME": "me",
                "SQITCH_EMAIL": "me@example.org",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr


def _beside_python(name: str) -> str | None:
    return shutil.which(name, path=str(Path(sys.executable).parent))


def _node(package: str, program: str = "") -> str | None:
    return shutil.which(program or package, path=str(NODE / "node_modules" / ".bin"))


def _numbered(pattern: str, text: str, first: int = 0) -> LayOut:
    """Return what writes a file for each table, from a pattern of its name and one of its text."""

    def lay_out(folder: Path, tables: list[str]) -> None:
        for number, table in enumerate(tables, first + 1):
            words = {"n": number, "table": table, "Table": table.title()}
            words |= {"sql": f"CREATE TABLE {table} (id int)", "undo": f"DROP TABLE {table}"}
            path = folder / pattern.format(**words)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.format(**words))

    return lay_out


def _with(lay_out: LayOut, name: str, text: str) -> LayOut:
    """Return what also writes a file that configures the tool."""

    def both(folder: Path, tables: list[str]) -> None:
        lay_out(folder, tables)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)

    return both


def _alembic(folder: Path, tables: list[str]) -> None:
    before = None
    (folder / "versions").mkdir(exist_ok=True)
    for number, table in enumerate(tables, 1):
        (folder / "versions" / f"{number}.py").write_text(
            f"from alembic import op\nrevision = 'a{number}'\ndown_revision = {before!r}\n"
            f"def upgrade(): op.execute('CREATE TABLE {table} (id int)')\n"
        )
        before = f"a{number}"


def _django(folder: Path, tables: list[str]) -> None:
    app = folder / "shop" / "migrations"
    app.mkdir(parents=True, exist_ok=True)
    before = ""
    for path in (app, app.parent):
        (path / "__init__.py").touch()
    for number, table in enumerate(tables, 1):
        (app / f"{number:04}_{table}.py").write_text(
            "from django.db import migrations\nclass Migration(migrations.Migration):\n"
            f"    dependencies = [{before}]\n"
            f"    operations = [migrations.RunSQL('CREATE TABLE {table} (id int)')]\n"
        )
        before = f"('shop', '{number:04}_{table}')"


def _sqitch(folder: Path, tables: list[str]) -> None:
    (folder / "deploy").mkdir(exist_ok=True)
    (folder / "sqitch.conf").write_text("[core]\n\tengine = pg\n")
    plan = ["%syntax-version=1.0.0", "%project=app", ""]
    for number, table in enumerate(tables, 1):
        name = f"{number:03}_{table}"
        plan.append(f"{name} 2024-01-01T00:00:0{number}Z me <me@example.org> # {name}")
        sql = f"BEGIN;\nCREATE TABLE {table} (id int);\nCOMMIT;\n"
        (folder / "deploy" / f"{name}.sql").write_text(sql)
    (folder / "sqitch.plan").write_text("\n".join(plan) + "\n")


def _kysely_script(folder: Path, tables: list[str]) -> None:
    files = _numbered(
        "migrations/2024010100000{n}_{table}.js",
        "exports.up = db => require('kysely').sql`{sql}`.execute(db);",
    )
    files(folder, tables)
    (folder / "run.js").write_text(
        "const { Kysely, PostgresDialect, Migrator, FileMigrationProvider } = require('kysely');\n"
        "const { Pool } = require('pg'), fs = require('fs/promises'), path = require('path');\n"
        "const pool = new Pool({connectionString: process.env.DATABASE_URL});\n"
        "const db = new Kysely({dialect: new PostgresDialect({pool})});\n"
        "const migrationFolder = path.resolve('migrations');\n"
        "const provider = new FileMigrationProvider({fs, path, migrationFolder});\n"
        "const migrator = new Migrator({db, provider});\n"
        "(async () => {\n"
        "  if (process.argv[2] === 'up') {\n"
        "    const { error } = await migrator.migrateToLatest();\n"
        "    if (error) throw error;\n"
        "  } else console.log(await migrator.getMigrations());\n"
        "  await db.destroy();\n"
        "})();\n"
    )


_ALEMBIC_ENV = """\
import os
from alembic import context
from sqlalchemy import create_engine
with create_engine(os.environ["DATABASE_URL"]).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""
_DJANGO_MANAGE = """\
import os, sys
from urllib.parse import urlsplit
import django
from django.conf import settings
from django.core.management import call_command
url = urlsplit(os.environ["DATABASE_URL"])
database = {"ENGINE": "django.db.backends.postgresql", "NAME": url.path[1:], "USER": url.username,
            "PASSWORD": url.password, "HOST": url.hostname, "PORT": url.port}
settings.configure(DATABASES={"default": database}, INSTALLED_APPS=["shop"])
django.setup()
call_command(*sys.argv[1:])
"""
_RAILS_RUN = """\
require 'active_record'
ActiveRecord::Base.establish_connection(ENV['DATABASE_URL'])
context = ActiveRecord::MigrationContext.new('migrate', ActiveRecord::SchemaMigration)
ARGV[0] == 'up' ? context.migrate : p(context.migrations_status)
"""
_KNEX = """\
module.exports = {client: 'pg', connection: process.env.DATABASE_URL,
                  migrations: {directory: './migrations'}};
"""
_TYPEORM = """\
const { DataSource } = require('typeorm');
module.exports.default = new DataSource({
    type: 'postgres', url: process.env.DATABASE_URL, migrations: ['./migrations/*.js']});
"""
_TYPEORM_FILE = """\
module.exports = class {Table}170000000000{n} {{
    name = '{Table}170000000000{n}';
    async up(runner) {{ await runner.query('{sql}'); }}
    async down(runner) {{ await runner.query('{undo}'); }}
}};
"""
_RAILS_FILE = """\
class {Table} < ActiveRecord::Migration[6.1]
  def up; execute '{sql}'; end
  def down; execute '{undo}'; end
end
"""
REAL_TOOLS = (
    RealTool(
        "alembic",
        _beside_python("alembic"),
        _with(
            _with(_alembic, "env.py", _ALEMBIC_ENV),
            "alembic.ini",
            "[alembic]\nscript_location = .\n",
        ),
        ("upgrade", "head"),
        ("current", "--verbose"),
        versions=None,
        url="postgresql+psycopg2:{rest}",
    ),
    RealTool(
        "dbmate",
        _beside_python("dbmate"),
        _numbered(
            "db/migrations/2024010100000{n}_{table}.sql",
            "-- migrate:up\n{sql};\n-- migrate:down\n{undo};\n",
        ),
        ("--url", "{url}?sslmode=disable", "--no-dump-schema", "up"),
        ("--url", "{url}?sslmode=disable", "status"),
        taken=True,
    ),
    RealTool(
        "django",
        sys.executable,
        _with(_django, "manage.py", _DJANGO_MANAGE),
        ("manage.py", "migrate"),
        ("manage.py", "showmigrations"),
        versions=None,
    ),
    RealTool(
        "knex",
        _node("knex"),
        _with(
            _numbered(
                "migrations/2024010100000{n}_{table}.js",
                "exports.up = knex => knex.raw('{sql}');\n"
                "exports.down = knex => knex.raw('{undo}');\n",
            ),
            "knexfile.js",
            _KNEX,
        ),
        ("migrate:latest",),
        ("migrate:list",),
    ),
    RealTool(
        "kysely",
        shutil.which("node") if (NODE / "node_modules" / "kysely").is_dir() else None,
        _kysely_script,
        ("run.js", "up"),
        ("run.js", "status"),
    ),
    RealTool(
        "node-pg-migrate",
        _node("node-pg-migrate"),
        _numbered(
            "migrations/170000000000{n}_{table}.sql",
            "-- Up Migration\n{sql};\n-- Down Migration\n{undo};\n",
        ),
        ("up", "-m", "migrations"),
        ("up", "-m", "migrations", "--dry-run"),
        versions=(1700000000001, 1700000000002),
    ),
    RealTool(
        "rails",
        shutil.which("ruby") if any(GEMS.glob("*/gems/activerecord-*")) else None,
        _with(_numbered("migrate/2024010100000{n}_{table}.rb", _RAILS_FILE), "run.rb", _RAILS_RUN),
        ("run.rb", "up"),
        ("run.rb", "status"),
        taken=True,
    ),
    RealTool(
        "sequelize",
        _node("sequelize-cli"),
        _with(
            _numbered(
                "migrations/2024010100000{n}-{table}.js",
                "module.exports = {{\n    up: q => q.sequelize.query('{sql}'),\n"
                "    down: q => q.sequelize.query('{undo}'),\n}};\n",
            ),
            "config/config.js",
            "const url = process.env.DATABASE_URL;\n"
            "module.exports = {development: {url, dialect: 'postgres'}};\n",
        ),
        ("db:migrate",),
        ("db:migrate:status",),
    ),
    RealTool(
        "sqitch",
        shutil.which("sqitch"),
        _sqitch,
        ("deploy", "{url}"),
        ("status", "{url}"),
        versions=(1, 2),
        url="db:pg:{rest}",
    ),
    RealTool(
        "sql-migrate",
        shutil.which("sql-migrate"),
        _with(
            _numbered(
                "migrations/00{n}_{table}.sql",
                "-- +migrate Up\n{sql};\n-- +migrate Down\n{undo};\n",
            ),
            "dbconfig.yml",
            "development:\n  dialect: postgres\n  datasource: ${DATABASE_URL}\n",
        ),
        ("up",),
        ("status",),
        versions=(1, 2),
        url="{url}?sslmode=disable",
    ),
    RealTool(
        "sqlx",
        _beside_python("sqlx"),
        _numbered("migrations/2024010100000{n}_{table}.sql", "{sql};\n"),
        ("migrate", "run"),
        ("migrate", "info"),
    ),
    RealTool(
        "typeorm",
        _node("typeorm"),
        _with(_numbered("migrations/170000000000{n}-{Table}.js", _TYPEORM_FILE), "ds.js", _TYPEORM),
        ("migration:run", "-d", "ds.js"),
        ("migration:show", "-d", "ds.js"),
        versions=(1700000000001, 1700000000002),
    ),
    RealTool(
        "yoyo",
        _beside_python("yoyo"),
        _numbered("migrations/2024010100000{n}_{table}.sql", "{sql}"),
        ("apply", "--no-config-file", "--batch", "--database", "{url}", "migrations"),
        ("list", "--no-config-file", "--batch", "--database", "{url}", "migrations"),
    ),
)
