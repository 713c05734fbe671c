"""The histories of other tools that are kept as files, and what there is to find in them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent / "histories"


class Kept(NamedTuple):
    """What a history says.

    Attributes:
        table: the table with the history.
        applied: the names of the migrations people and pets.
        versions: their versions, if the names or the table have any.
        time: when the second was applied, in UTC; empty where nothing says so.
        companions: other tables, in the same schema.
    """

    table: str
    applied: tuple[str, ...]
    versions: tuple[int, ...] | None
    time: str = ""
    companions: tuple[str, ...] = ()


STAMPS = ("20240101000001", "20240101000002")
NUMBERS = (20240101000001, 20240101000002)


def _stamped(after: str) -> tuple[str, ...]:
    return (f"{STAMPS[0]}{after.format('people')}", f"{STAMPS[1]}{after.format('pets')}")


KEPT = {
    "alembic": Kept("public.alembic_version", ("b3e07d52c6a1",), None),
    "atlas": Kept(
        "atlas_schema_revisions.atlas_schema_revisions", STAMPS, NUMBERS, "2024-01-01 00:00:02"
    ),
    "db-migrate": Kept("public.migrations", _stamped("-{}"), NUMBERS),
    "dbmate": Kept("public.schema_migrations", STAMPS, NUMBERS),
    "diesel": Kept("public.__diesel_schema_migrations", STAMPS, NUMBERS, "now"),
    "django": Kept("public.django_migrations", ("shop.0001_people", "shop.0002_pets"), None),
    "doctrine": Kept(
        "public.doctrine_migration_versions",
        tuple(f"DoctrineMigrations\\Version{stamp}" for stamp in STAMPS),
        None,
    ),
    "drizzle": Kept("drizzle.__drizzle_migrations", ("1796029821868", "1796029823558"), None),
    "ecto": Kept("public.schema_migrations", STAMPS, NUMBERS, "2024-01-01 00:00:02"),
    "ef-core": Kept(
        "public.__EFMigrationsHistory", (f"{STAMPS[0]}_People", f"{STAMPS[1]}_Pets"), NUMBERS
    ),
    "ef-core-snake-case": Kept(
        "public.__EFMigrationsHistory", (f"{STAMPS[0]}_People", f"{STAMPS[1]}_Pets"), NUMBERS
    ),
    "flyway": Kept("public.flyway_schema_history", ("1", "2"), (1, 2), "now"),
    "golang-migrate": Kept("public.schema_migrations", ("2",), (2,)),
    "goose": Kept("public.goose_db_version", ("1", "2"), (1, 2), "now"),
    "graphile-migrate": Kept(
        "graphile_migrate.migrations",
        ("000001.sql", "000002.sql"),
        (1, 2),
        "2026-11-30 09:09:",
        ("current",),
    ),
    "knex": Kept(
        "public.knex_migrations",
        _stamped("_{}.js"),
        NUMBERS,
        "2026-11-30 09:09:26.628",
        ("knex_migrations_lock",),
    ),
    "kysely": Kept(
        "public.kysely_migration",
        _stamped("_{}"),
        NUMBERS,
        "2026-11-30 09:11:14.708",
        ("kysely_migration_lock",),
    ),
    "laravel": Kept(
        "public.migrations", ("2024_01_01_000001_people", "2024_01_01_000002_pets"), None
    ),
    "liquibase": Kept(
        "public.databasechangelog",
        ("001_people.sql", "002_pets.sql"),
        (1, 2),
        "2026-11-30 09:10:32.239994",
        ("databasechangeloglock",),
    ),
    "mikro-orm": Kept(
        "public.mikro_orm_migrations",
        tuple(f"Migration{stamp}" for stamp in STAMPS),
        None,
    ),
    "node-pg-migrate": Kept(
        "public.pgmigrations",
        ("1700000000001_people", "1700000000002_pets"),
        (1700000000001, 1700000000002),
        "2026-11-30 09:09:",
    ),
    "pgroll": Kept(
        "pgroll.migrations",
        ("01_people", "02_pets"),
        (1, 2),
        "2024-01-01 00:00:02",
        ("pgroll_version",),
    ),
    "phinx": Kept("public.phinxlog", STAMPS, NUMBERS),
    "postgrator": Kept("public.schemaversion", ("1", "2"), (1, 2), "2026-11-30 09:10:"),
    "postgres-migrations": Kept(
        "public.migrations", ("1", "2"), (1, 2), "2026-11-30 09:10:25.804642"
    ),
    "prisma": Kept(
        "public._prisma_migrations", _stamped("_{}"), NUMBERS, "2026-11-30 09:12:09.605"
    ),
    "rails": Kept(
        "public.schema_migrations", STAMPS, NUMBERS, companions=("ar_internal_metadata",)
    ),
    "refinery": Kept("public.refinery_schema_history", ("1", "2"), (1, 2), "2024-01-01 00:00:02.5"),
    "sequel": Kept("public.schema_migrations", _stamped("_{}.rb"), NUMBERS),
    "sequel-integers": Kept("public.schema_info", ("2",), (2,)),
    "sequelize": Kept("public.SequelizeMeta", _stamped("-{}.js"), NUMBERS),
    "sql-migrate": Kept(
        "public.gorp_migrations",
        ("001_people.sql", "002_pets.sql"),
        (1, 2),
        "2026-11-30 09:10:40.266052",
    ),
    "sqitch": Kept(
        "sqitch.changes",
        ("001_people", "002_pets"),
        (1, 2),
        "2026-11-30 09:10:39.397051",
        ("projects", "tags", "dependencies", "events", "releases"),
    ),
    "sqlx": Kept("public._sqlx_migrations", STAMPS, NUMBERS, "2026-11-30 09:13:29.476443"),
    "supabase": Kept("supabase_migrations.schema_migrations", STAMPS, NUMBERS),
    "tern": Kept("public.schema_version", ("2",), (2,)),
    "typeorm": Kept(
        "public.migrations", ("1700000000001", "1700000000002"), (1700000000001, 1700000000002)
    ),
    "yoyo": Kept(
        "public._yoyo_migration",
        _stamped("_{}"),
        NUMBERS,
        "2026-11-30 09:13:30.460745",
        ("_yoyo_log", "_yoyo_version", "yoyo_lock"),
    ),
}


def sql_of(tool: str) -> str:
    """Return the SQL that makes the history of a tool."""
    return (FOLDER / f"{tool}.sql").read_text("utf-8")
