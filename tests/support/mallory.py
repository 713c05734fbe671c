"""A role that may create objects in the schema `public`, and tries to have its code run by others.

It creates what the server could find there instead of its own: an operator of each name for each
pair of usual types, a function and an aggregate for most of those of the server, and a view and
a type for each. Each of them counts its call in a sequence, which a rollback does not undo, and
says its name in a warning.
"""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.database import Database

ROLE = "mallory"
# On the usual path, what is in `public` is found where it fits better than what the server has; on
# the other one it is always found.
PATHS = ('"$user", public', "public, pg_catalog")
_CREATE = """
SET SESSION AUTHORIZATION mallory;
SET search_path TO pg_catalog, pg_temp;
CREATE SEQUENCE public.calls;
GRANT ALL ON SEQUENCE public.calls TO PUBLIC;
CREATE FUNCTION public.struck(what text) RETURNS boolean LANGUAGE plpgsql
  SET search_path TO pg_catalog, pg_temp AS
  $$BEGIN PERFORM nextval('public.calls'); RAISE WARNING 'mallory: %', what; RETURN true; END$$;
CREATE PROCEDURE pg_temp.attempt(statement text) LANGUAGE plpgsql AS
  $$BEGIN EXECUTE statement; EXCEPTION WHEN OTHERS THEN NULL; END$$;
CREATE FUNCTION pg_temp.body(what text, ending text DEFAULT 'RETURN NULL') RETURNS text
  LANGUAGE sql RETURN format(' LANGUAGE plpgsql SET search_path TO pg_catalog, pg_temp AS $f$BEGIN'
    ' PERFORM nextval(''public.calls''); RAISE WARNING ''mallory: %%'', %L; %s; END$f$',
    what, ending);
"""
# Commits now and then, because the server has no room for so many locks.
_OVERLOADS = """
DO $do$
DECLARE
  one record;
  number int := 0;
  -- The types that the SQL of the migrator compares and joins, and their neighbours.
  types name[] := '{int2,int4,int8,numeric,float4,float8,text,name,char,varchar,bool,oid,regclass,
    regnamespace,regrole,regproc,xid,timestamp,timestamptz,interval,date,json,jsonb,_text,_name,
    _oid,_int4,_int8,_char,int2vector,oidvector}';
BEGIN
  FOR one IN
    SELECT oprname, oprleft::regtype AS l, oprright::regtype AS r, oprresult::regtype AS result
    FROM pg_operator WHERE oprnamespace = 'pg_catalog'::regnamespace
    UNION
    SELECT o.oprname, l.oid::regtype, r.oid::regtype,
      CASE WHEN bool_or(o.oprresult = 'bool'::regtype) THEN 'bool'::regtype ELSE l.oid::regtype END
    FROM pg_operator o, pg_type l, pg_type r
    WHERE l.typname = ANY (types) AND r.typname = ANY (types) AND o.oprleft <> 0
      AND o.oprname = ANY ('{=,<>,<,>,<=,>=,~,!~,~~,!~~,||,+,-,*,&&,@>,->,->>}')
      AND NOT EXISTS (SELECT FROM pg_operator p
        WHERE p.oprname = o.oprname AND p.oprleft = l.oid AND p.oprright = r.oid)
    GROUP BY o.oprname, l.oid, r.oid
  LOOP
    number := number + 1;
    CALL pg_temp.attempt(format('CREATE FUNCTION public.operator_%s(%s) RETURNS %s', number,
      concat_ws(', ', nullif(one.l::text, '-'), one.r), one.result)
      || pg_temp.body(format('%s %s %s', one.l, one.oprname, one.r)));
    CALL pg_temp.attempt(format(
      'CREATE OPERATOR public.%s (FUNCTION = public.operator_%s, %s RIGHTARG = %s)',
      one.oprname, number,
      CASE WHEN one.l <> 0::regtype THEN format('LEFTARG = %s,', one.l) END, one.r));
    IF number % 1000 = 0 THEN COMMIT; END IF;
  END LOOP;
  FOR one IN
    SELECT p.oid, p.proname, p.prokind, p.prorettype::regtype AS result,
      pg_get_function_arguments(p.oid) AS arguments, pg_get_function_result(p.oid) AS results,
      pg_get_function_identity_arguments(p.oid) AS types, p.proretset AS is_set
    FROM pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind IN ('f', 'a')
  LOOP
    number := number + 1;
    IF one.prokind = 'a' THEN
      CALL pg_temp.attempt(format('CREATE FUNCTION public.step_%s(%s) RETURNS %s', number,
        concat_ws(', ', one.result, nullif(one.types, '')), one.result)
        || pg_temp.body(one.oid::regprocedure::text));
      CALL pg_temp.attempt(format(
        'CREATE AGGREGATE public.%I(%s) (SFUNC = public.step_%s, STYPE = %s)', one.proname,
        coalesce(nullif(one.types, ''), '*'), number, one.result));
    ELSE
      CALL pg_temp.attempt(format('CREATE FUNCTION public.%I(%s) RETURNS %s', one.proname,
        one.arguments, one.results) || pg_temp.body(one.oid::regprocedure::text,
        CASE WHEN one.is_set THEN 'RETURN' ELSE 'RETURN NULL' END));
    END IF;
    IF number % 1000 = 0 THEN COMMIT; END IF;
  END LOOP;
  FOR one IN
    SELECT relname FROM pg_class
    WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind IN ('r', 'v')
  LOOP
    CALL pg_temp.attempt(format('CREATE VIEW public.%I AS SELECT * FROM pg_catalog.%I'
      ' WHERE public.struck(%L)', one.relname, one.relname, 'view ' || one.relname));
  END LOOP;
  FOR one IN
    SELECT typname FROM pg_type
    WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype = 'b' AND typelem = 0
  LOOP
    CALL pg_temp.attempt(format(
      'CREATE DOMAIN public.%I AS pg_catalog.%I CHECK (public.struck(%L))',
      one.typname, one.typname, 'type ' || one.typname));
  END LOOP;
END $do$;
"""


def attack(database: Database) -> None:
    """Create the role, and everything that it tries, in an empty database."""
    database.execute(
        "DO $$ BEGIN CREATE ROLE mallory LOGIN PASSWORD 'mallory-Xq71';"
        " EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
        " GRANT CREATE ON SCHEMA public TO mallory"
    )
    with closing(psycopg2.connect(database.admin_url)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(_CREATE)
        cursor.execute(_OVERLOADS)


@contextmanager
def copy(attacked: Database, path: str) -> Iterator[Database]:
    """Copy a database in which `attack` was called, and drop the copy at the end.

    Args:
        attacked: that database; nobody may be connected to it.
        path: one of PATHS, which the sessions of the copy have.
    """
    server, name = attacked.server, f"{attacked.name}_copy"
    server.execute(f"CREATE DATABASE {name} OWNER {attacked.user} TEMPLATE {attacked.name}")
    server.execute(f"ALTER DATABASE {name} SET search_path TO {path}")
    yield replace(attacked, name=name)
    server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def calls(database: Database) -> int:
    """Return how often code of the role was called."""
    [(count,)] = database.execute(
        "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM public.calls"
    )
    return int(count)
