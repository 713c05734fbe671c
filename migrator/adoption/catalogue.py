"""The catalogue of other migration tools: the tables of each tool, as the tool itself makes them.

Each entry names the repository and the file that its facts come from. `tools` finds and reads the
tables; the table of docs/adopting.md is written from this catalogue by `make docs`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

# The category of a column's type (PostgreSQL documentation, "pg_type", "typcategory Codes"). The
# exact types differ between the versions of a tool.
TEXT, NUMBER, TIME, FLAG, ARRAY = "S", "N", "D", "B", "A"

Columns: TypeAlias = "Mapping[str, str]"
ANY_NAME = ".*"
# A name that says what the table is for, as users choose one who rename a history.
_MIGRATIONS = "(.*_|pg)?migrations?(_(history|log|versions?))?"


@dataclass(frozen=True, slots=True)
class Lock:
    """A row with which a tool keeps a second process of itself away.

    Attributes:
        table: the companion with the row.
        held: the SQL condition that is true while the lock is held.
        repair: what to do when no process of the tool runs any more.
        holder: the SQL expression for who holds it, in words.
    """

    table: str
    held: str
    repair: str
    holder: str = "'a process'"


@dataclass(frozen=True, slots=True)
class Tool:
    """One migration tool and the tables in which it keeps its history.

    Attributes:
        name: what `--from` calls the tool.
        title: what people call the tool.
        table: the name of the history table, unless the user chose another.
        columns: the columns of that table, each with the category of its type.
        source: where its definition is: a repository and a file.
        names: the regular expression, without regard to case, of the names under which the table is
            taken for a history; empty for `table` alone. `ANY_NAME` is for columns that no table
            has but this one.
        optional: further columns, which other versions of the tool make or leave out.
        open: whether the table may have columns beyond these.
        schema: the schema that the tool makes for its tables; empty when they are in the usual one.
        companions: other tables of the tool in the same schema, with columns that they have.
            `{}` stands for the name of the history table.
        needs: a companion without which the table is not a history of this tool.
        name_of: the SQL expression for the name of a row's migration; empty when `tools` has a
            function that reads the table.
        order: the SQL expressions by which the rows are ordered.
        where: the SQL condition of the rows that count.
        time: the column with the time of a migration; empty when there is none whose time zone is
            known.
        in_utc: whether `time` is UTC without a time zone.
        numbered: whether the names begin with the numbers of files.
        newest: whether the table has only the newest version, and not every one.
        lock: the lock of the tool.
        kept: why `--drop-old` does not drop the tables, and what does; empty when it drops them.
        version: which file a history stands for, in words for the documentation.
        refused: which state of the tool is refused, in words for the documentation.
    """

    name: str
    title: str
    table: str
    columns: Columns
    source: str
    names: str = ""
    optional: Columns = field(default_factory=dict)
    open: bool = False
    schema: str = ""
    companions: Mapping[str, Columns] = field(default_factory=dict)
    needs: str = ""
    name_of: str = ""
    order: str = ""
    where: str = "true"
    time: str = ""
    in_utc: bool = False
    numbered: bool = True
    newest: bool = False
    lock: Lock | None = None
    kept: str = ""
    version: Literal[
        "the same numbers", "all up to its version", "the numbers in the names", "`--version N`"
    ] = "the numbers in the names"
    refused: str = ""


def _columns(words: str) -> Columns:
    """Return columns from words such as `version:N`: a name and the category of its type."""
    parts = (word.rpartition(":") for word in words.split())
    return MappingProxyType({name: category for name, _, category in parts})


def _companions(**tables: str) -> Mapping[str, Columns]:
    return MappingProxyType({name: _columns(words) for name, words in tables.items()})


# Tools whose tables may look alike are in the order in which the tables are taken for theirs.
CATALOGUE: tuple[Tool, ...] = (
    Tool(
        name="alembic",
        title="Alembic",
        table="alembic_version",
        names=".*alembic.*",
        columns=_columns("version_num:S"),
        source="sqlalchemy/alembic, alembic/ddl/impl.py, version_table_impl",
        name_of="version_num",
        order="version_num",
        newest=True,
        numbered=False,  # a revision is a hash, and a hash may begin with digits
        version="`--version N`",
    ),
    Tool(
        name="atlas",
        title="Atlas",
        table="atlas_schema_revisions",
        names=ANY_NAME,
        columns=_columns(
            "version:S description:S type:N applied:N total:N executed_at:D execution_time:N"
            " error:S error_stmt:S hash:S operator_version:S"
        ),
        open=True,
        schema="atlas_schema_revisions",
        source="ariga/atlas, cmd/atlas/internal/migrate/ent/migrate/schema.go",
        version="the same numbers",
        refused="a version that is applied in part",
    ),
    Tool(
        name="db-migrate",
        title="db-migrate",
        table="migrations",
        columns=_columns("id:N name:S run_on:D"),
        source="db-migrate/db-migrate-base, index.js, createMigrationsTable",
        name_of="pg_catalog.ltrim(name, '/')",
        order="run_on, id",
    ),
    Tool(
        name="rails",
        title="Rails (Active Record)",
        table="schema_migrations",
        names=_MIGRATIONS,
        columns=_columns("version:S"),
        companions=_companions(ar_internal_metadata="key:S value:S"),
        needs="ar_internal_metadata",
        source="rails/rails, activerecord/lib/active_record/schema_migration.rb"
        " and internal_metadata.rb, create_table",
        name_of="version::text",
        order="version",
        version="the same numbers",
    ),
    Tool(
        name="dbmate",
        title="dbmate",
        table="schema_migrations",
        names=_MIGRATIONS,
        columns=_columns("version:S"),
        source="amacneil/dbmate, pkg/driver/postgres/postgres.go, CreateMigrationsTable",
        name_of="version::text",
        order="version",
        version="the same numbers",
    ),
    Tool(
        name="diesel",
        title="Diesel",
        table="__diesel_schema_migrations",
        names=_MIGRATIONS,
        columns=_columns("version:S run_on:D"),
        source="diesel-rs/diesel, diesel/src/migration/setup_migration_table.sql",
        name_of="version",
        order="version",
        time="run_on",
        version="the same numbers",
    ),
    Tool(
        name="django",
        title="Django",
        table="django_migrations",
        columns=_columns("id:N app:S name:S applied:D"),
        source="django/django, django/db/migrations/recorder.py, Migration",
        name_of="app || '.' || name",
        order="id",
        numbered=False,  # every app counts from 0001, so these are not versions of the database
        version="`--version N`",
    ),
    Tool(
        name="doctrine",
        title="Doctrine",
        table="doctrine_migration_versions",
        names=".*migration_versions",
        columns=_columns("version:S"),
        optional=_columns("executed_at:D execution_time:N"),
        source="doctrine/migrations, src/Metadata/Storage/TableMetadataStorage.php,"
        " getExpectedTable",
        name_of="version",
        order="version",
        version="`--version N`",
    ),
    Tool(
        name="drizzle",
        title="Drizzle",
        table="__drizzle_migrations",
        names=_MIGRATIONS,
        columns=_columns("id:N hash:S created_at:N"),
        optional=_columns("name:S applied_at:D"),
        schema="drizzle",
        source="drizzle-team/drizzle-orm, drizzle-orm/src/pg-core/dialect.ts, migrate",
        name_of="created_at::text",
        order="created_at, id",
        numbered=False,  # the time when the file was made, in milliseconds
        version="`--version N`",
    ),
    Tool(
        name="ecto",
        title="Ecto",
        table="schema_migrations",
        names=_MIGRATIONS,
        columns=_columns("version:N inserted_at:D"),
        source="elixir-ecto/ecto_sql, lib/ecto/migration/schema_migration.ex,"
        " ensure_schema_migrations_table!",
        name_of="version::text",
        order="version",
        time="inserted_at",
        in_utc=True,
        version="the same numbers",
    ),
    Tool(
        name="ef-core",
        title="Entity Framework Core",
        table="__EFMigrationsHistory",
        names=".*migrations_?history",
        columns=_columns("MigrationId:S ProductVersion:S"),
        source="dotnet/efcore, src/EFCore.Relational/Migrations/HistoryRepository.cs",
        name_of='"MigrationId"',
        order='"MigrationId"',
    ),
    Tool(
        name="ef-core-snake-case",
        title="Entity Framework Core with EFCore.NamingConventions",
        table="__EFMigrationsHistory",
        names=".*migrations_?history",
        columns=_columns("migration_id:S product_version:S"),
        source="efcore/EFCore.NamingConventions, EFCore.NamingConventions/Internal/"
        "SnakeCaseNameRewriter.cs; danielgerlag/workflow-core, issue 603, shows the table",
        name_of="migration_id",
        order="migration_id",
    ),
    Tool(
        name="flyway",
        title="Flyway",
        table="flyway_schema_history",
        names=ANY_NAME,
        columns=_columns(
            "installed_rank:N version:S description:S type:S script:S checksum:N installed_by:S"
            " installed_on:D execution_time:N success:B"
        ),
        open=True,
        source="flyway/flyway, flyway-database-postgresql, PostgreSQLDatabase.java,"
        " getRawCreateScript",
        version="the same numbers",
        refused="a migration with `success = false`",
    ),
    Tool(
        name="golang-migrate",
        title="golang-migrate",
        table="schema_migrations",
        names=_MIGRATIONS,
        columns=_columns("version:N dirty:B"),
        source="golang-migrate/migrate, database/postgres/postgres.go, ensureVersionTable",
        newest=True,
        version="all up to its version",
        refused="a dirty version",
    ),
    Tool(
        name="goose",
        title="goose",
        table="goose_db_version",
        names=ANY_NAME,
        columns=_columns("id:N version_id:N is_applied:B tstamp:D"),
        open=True,
        source="pressly/goose, internal/dialects/postgres.go, CreateTable",
        version="the same numbers",
    ),
    Tool(
        name="graphile-migrate",
        title="graphile-migrate",
        table="migrations",
        columns=_columns("hash:S previous_hash:S filename:S date:D"),
        schema="graphile_migrate",
        companions=_companions(current="filename:S content:S date:D"),
        source="graphile/migrate, src/migration.ts, _migrateMigrationSchema",
        name_of="filename",
        order="filename",
        time="date",
    ),
    Tool(
        name="knex",
        title="Knex",
        table="knex_migrations",
        names=_MIGRATIONS,
        columns=_columns("id:N name:S batch:N migration_time:D"),
        companions=MappingProxyType({"{}_lock": _columns("index:N is_locked:N")}),
        source="knex/knex, lib/migrations/migrate/table-creator.js",
        name_of="name",
        order="id",
        time="migration_time",
        lock=Lock("{}_lock", "is_locked <> 0", "run knex migrate:unlock"),
        refused="a lock in `knex_migrations_lock`",
    ),
    Tool(
        name="kysely",
        title="Kysely",
        table="kysely_migration",
        names=_MIGRATIONS,
        columns=_columns("name:S timestamp:S"),
        companions=MappingProxyType({"{}_lock": _columns("id:S is_locked:N")}),
        needs="{}_lock",
        source="kysely-org/kysely, src/migration/migrator.ts, #createMigrationTableIfNotExists",
        name_of="name",
        order="timestamp, name",
        time="timestamp",
    ),
    Tool(
        name="laravel",
        title="Laravel",
        table="migrations",
        names=_MIGRATIONS,
        columns=_columns("id:N migration:S batch:N"),
        source="laravel/framework, src/Illuminate/Database/Migrations/"
        "DatabaseMigrationRepository.php, createRepository",
        name_of="migration",
        order="batch, migration",
        version="`--version N`",
    ),
    Tool(
        name="liquibase",
        title="Liquibase",
        table="databasechangelog",
        names=ANY_NAME,
        columns=_columns(
            "id:S author:S filename:S dateexecuted:D orderexecuted:N exectype:S md5sum:S"
        ),
        open=True,
        companions=_companions(databasechangeloglock="id:N locked:B lockgranted:D lockedby:S"),
        source="liquibase/liquibase, liquibase-standard, CreateDatabaseChangeLogTableGenerator.java"
        " and CreateDatabaseChangeLogLockTableGenerator.java",
        lock=Lock(
            "databasechangeloglock",
            "locked",
            "run liquibase release-locks",
            "coalesce(lockedby, 'a process')",
        ),
        version="the numbers in the names",
        refused="a lock in `databasechangeloglock`",
    ),
    Tool(
        name="mikro-orm",
        title="MikroORM",
        table="mikro_orm_migrations",
        names=_MIGRATIONS,
        columns=_columns("id:N name:S executed_at:D"),
        source="mikro-orm/mikro-orm, packages/migrations/src/MigrationStorage.ts, ensureTable",
        name_of="name",
        order="id",
        time="executed_at",
        version="`--version N`",
    ),
    Tool(
        name="node-pg-migrate",
        title="node-pg-migrate",
        table="pgmigrations",
        names=_MIGRATIONS,
        columns=_columns("id:N name:S run_on:D"),
        source="salsita/node-pg-migrate, src/runner.ts, ensureMigrationsTable",
        name_of="name",
        order="run_on, id",
        time="run_on",
    ),
    Tool(
        name="pgroll",
        title="pgroll",
        table="migrations",
        columns=_columns(
            "schema:S name:S migration:U created_at:D updated_at:D parent:S done:B"
            " resulting_schema:U"
        ),
        open=True,
        schema="pgroll",
        companions=_companions(pgroll_version="version:S initialized_at:D"),
        source="xataio/pgroll, pkg/state/init.sql",
        kept="its event triggers write into them. A superuser can drop both with DROP SCHEMA pgroll"
        " CASCADE",
        version="the numbers in the names",
        refused="a migration that is started and not completed",
    ),
    Tool(
        name="phinx",
        title="Phinx",
        table="phinxlog",
        names=".*phinxlog",
        columns=_columns("version:N migration_name:S start_time:D end_time:D"),
        optional=_columns("breakpoint:B"),
        source="cakephp/phinx, src/Phinx/Db/Adapter/AbstractAdapter.php, createSchemaTable",
        name_of="version::text",
        order="version",
        version="the same numbers",
    ),
    Tool(
        name="postgrator",
        title="Postgrator",
        table="schemaversion",
        columns=_columns("version:N name:S md5:S run_at:D"),
        source="rickbergfalk/postgrator, lib/Client.js, ensureTable",
        name_of="version::text",
        order="version",
        where="version > 0",  # the row of version 0 says that the table was made
        time="run_at",
        version="the same numbers",
    ),
    Tool(
        name="postgres-migrations",
        title="postgres-migrations",
        table="migrations",
        columns=_columns("id:N name:S hash:S executed_at:D"),
        source="thomwright/postgres-migrations, src/migrations/0_create-migrations-table.sql",
        name_of="id::text",
        order="id",
        where="id > 0",  # migration 0 made the table
        time="executed_at",
        version="the same numbers",
    ),
    Tool(
        name="prisma",
        title="Prisma",
        table="_prisma_migrations",
        names=ANY_NAME,
        columns=_columns(
            "id:S checksum:S finished_at:D migration_name:S logs:S rolled_back_at:D started_at:D"
            " applied_steps_count:N"
        ),
        open=True,
        source="prisma/prisma-engines, sql-schema-connector, flavour/postgres.rs,"
        " create_migrations_table",
        refused="a migration that has not finished and was not rolled back",
    ),
    Tool(
        name="refinery",
        title="Refinery",
        table="refinery_schema_history",
        names=f".*schema_history|{_MIGRATIONS}",
        columns=_columns("version:N name:S applied_on:S checksum:S"),
        source="rust-db/refinery, refinery_core/src/traits/mod.rs, ASSERT_MIGRATIONS_TABLE_QUERY",
        name_of="version::text",
        order="version",
        time="applied_on",
        version="the same numbers",
    ),
    Tool(
        name="sequel",
        title="Sequel (timestamps)",
        table="schema_migrations",
        names=_MIGRATIONS,
        columns=_columns("filename:S"),
        source="jeremyevans/sequel, lib/sequel/extensions/migration.rb, TimestampMigrator",
        name_of="filename",
        order="filename",
    ),
    Tool(
        name="sequel-integers",
        title="Sequel (integers)",
        table="schema_info",
        columns=_columns("version:N"),
        source="jeremyevans/sequel, lib/sequel/extensions/migration.rb, IntegerMigrator",
        newest=True,
        version="all up to its version",
    ),
    Tool(
        name="sequelize",
        title="Sequelize",
        table="SequelizeMeta",
        names="sequelize_?meta(data)?",
        columns=_columns("name:S"),
        optional=_columns("createdAt:D updatedAt:D"),
        companions=_companions(SequelizeData="name:S"),
        source="sequelize/umzug, src/storage/sequelize.ts, defineModel; sequelize/cli",
        name_of="name",
        order="name",
    ),
    Tool(
        name="sql-migrate",
        title="sql-migrate",
        table="gorp_migrations",
        names=_MIGRATIONS,
        columns=_columns("id:S applied_at:D"),
        source="rubenv/sql-migrate, migrate.go, MigrationRecord",
        name_of="id",
        order="id",
        time="applied_at",
    ),
    Tool(
        name="sqitch",
        title="Sqitch",
        table="changes",
        columns=_columns(
            "change_id:S change:S project:S note:S committed_at:D committer_name:S"
            " committer_email:S planned_at:D planner_name:S planner_email:S"
        ),
        optional=_columns("script_hash:S"),
        schema="sqitch",
        companions=_companions(
            projects="project:S uri:S creator_name:S",
            tags="tag_id:S tag:S change_id:S",
            dependencies="change_id:S type:S dependency:S dependency_id:S",
            events="event:S change_id:S requires:A conflicts:A",
            releases="version:N installed_at:D installer_name:S",
        ),
        needs="projects",
        source="sqitchers/sqitch, lib/App/Sqitch/Engine/pg.sql",
    ),
    Tool(
        name="sqlx",
        title="sqlx",
        table="_sqlx_migrations",
        names=ANY_NAME,
        columns=_columns(
            "version:N description:S installed_on:D success:B checksum:U execution_time:N"
        ),
        open=True,
        source="launchbadge/sqlx, sqlx-postgres/src/migrate.rs, ensure_migrations_table",
        version="the same numbers",
        refused="a migration with `success = false`",
    ),
    Tool(
        name="supabase",
        title="Supabase",
        table="schema_migrations",
        names=_MIGRATIONS,
        columns=_columns("version:S statements:A name:S"),
        open=True,
        schema="supabase_migrations",
        companions=_companions(seed_files="path:S hash:S"),
        source="supabase/cli, pkg/migration/history.go",
        name_of="version",
        order="version",
        version="the same numbers",
    ),
    Tool(
        name="tern",
        title="tern",
        table="schema_version",
        names=".*schema_version",
        columns=_columns("version:N"),
        source="jackc/tern, migrate/migrate.go, ensureSchemaVersionTableExists",
        newest=True,
        version="all up to its version",
    ),
    Tool(
        name="typeorm",
        title="TypeORM",
        table="migrations",
        names=_MIGRATIONS,
        columns=_columns("id:N timestamp:N name:S"),
        companions=_companions(
            typeorm_metadata="type:S database:S schema:S table:S name:S value:S"
        ),
        source="typeorm/typeorm, src/migration/MigrationExecutor.ts,"
        " createMigrationsTableIfNotExist",
        name_of="timestamp::text",
        order="timestamp, id",
        version="the same numbers",
    ),
    Tool(
        name="yoyo",
        title="yoyo",
        table="_yoyo_migration",
        names=ANY_NAME,
        columns=_columns("migration_hash:S migration_id:S applied_at_utc:D"),
        open=True,
        companions=_companions(
            _yoyo_log="id:S migration_hash:S operation:S",
            _yoyo_version="version:N installed_at_utc:D",
            yoyo_lock="locked:N ctime:D pid:N",
        ),
        source="ollycope/yoyo, yoyo/internalmigrations/v2.py",
        name_of="migration_id",
        order="applied_at_utc, migration_id",
        time="applied_at_utc",
        in_utc=True,
        lock=Lock(
            "yoyo_lock",
            "true",
            "repair what it left half done and run yoyo break-lock",
            "'process ' || pid",
        ),
        refused="a lock in `yoyo_lock`",
    ),
)

BY_NAME = MappingProxyType({tool.name: tool for tool in CATALOGUE})
