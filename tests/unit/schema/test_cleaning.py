"""What of a dump belongs into a migration."""

from __future__ import annotations

import pytest

from migrator.schema.cleaning import Surroundings, clean

AROUND = Surroundings(
    role='"the owner"',
    usual_comments=frozenset({"citext"}),
    starts={"public.a_seq": 1, 'public."b\'s"': 7},
    ground=frozenset({"schema app", "extension hstore"}),
    home="ops",
    method="heap",
)
US = '"the owner"'
ALL_BUT_DELETE = "SELECT,INSERT,REFERENCES,TRIGGER,TRUNCATE,MAINTAIN,UPDATE"
DEFAULTS = "ALTER DEFAULT PRIVILEGES"
METHOD = "default_table_access_method"
HEAD = "SET LOCAL search_path TO '';\nSET LOCAL check_function_bodies TO off;\n"


@pytest.mark.parametrize(
    ("dumped", "kept"),
    [
        ("SET statement_timeout = 0;", ""),
        ("SET client_encoding = 'UTF8';", ""),
        ("SELECT pg_catalog.set_config('search_path', '', false);", ""),
        ("SET row_security = off;", ""),
        ('ALTER TABLE a OWNER TO "the owner";', ""),
        ("ALTER TABLE a OWNER TO another;", "ALTER TABLE a OWNER TO another;\n"),
        ('GRANT SELECT ON TABLE a TO "the owner";', "GRANT SELECT ON TABLE a TO CURRENT_USER;\n"),
        (
            'GRANT SELECT ON TABLE a TO "the owner" WITH GRANT OPTION;',
            "GRANT SELECT ON TABLE a TO CURRENT_USER WITH GRANT OPTION;\n",
        ),
        ("GRANT SELECT ON TABLE a TO app;", "GRANT SELECT ON TABLE a TO app;\n"),
        (
            f"{DEFAULTS} FOR ROLE {US} IN SCHEMA x REVOKE ALL ON TABLES FROM {US};",
            "ALTER DEFAULT PRIVILEGES IN SCHEMA x REVOKE ALL ON TABLES FROM CURRENT_USER;\n",
        ),
        (
            "ALTER DEFAULT PRIVILEGES FOR ROLE app IN SCHEMA x GRANT ALL ON TABLES TO PUBLIC;",
            "ALTER DEFAULT PRIVILEGES FOR ROLE app IN SCHEMA x GRANT ALL ON TABLES TO PUBLIC;\n",
        ),
        (
            "SET SESSION AUTHORIZATION app;\nGRANT SELECT ON a TO b;\nRESET SESSION AUTHORIZATION;",
            "SET LOCAL ROLE app;\nGRANT SELECT ON a TO b;\nRESET ROLE;\n",
        ),
        ("COMMENT ON EXTENSION citext IS 'x';", ""),
        ("COMMENT ON EXTENSION other IS 'x';", "COMMENT ON EXTENSION other IS 'x';\n"),
        ("CREATE EXTENSION IF NOT EXISTS hstore WITH SCHEMA app;", ""),
        ("CREATE SCHEMA app;", ""),
        ("CREATE SCHEMA ops;", "CREATE SCHEMA IF NOT EXISTS ops;\n"),
        ("CREATE SCHEMA shop;", "CREATE SCHEMA shop;\n"),
        (
            "ALTER TABLE ONLY a ALTER COLUMN b SET (n_distinct=5, pg_attver=31);",
            "ALTER TABLE ONLY a ALTER COLUMN b SET (n_distinct=5);\n",
        ),
        ("ALTER TABLE ONLY a ALTER COLUMN b SET (pg_attver=31);", ""),
        ("SET default_table_access_method = heap;\nCREATE TABLE a ();", "CREATE TABLE a ();\n"),
        (
            f"SET {METHOD} = columnar;\nCREATE TABLE a ();\nSET {METHOD} = heap;\nSELECT 1;",
            f"SET LOCAL {METHOD} TO columnar;\nCREATE TABLE a ();\nRESET {METHOD};\nSELECT 1;\n",
        ),
        ("COPY public.a (b) FROM stdin;\n\\.\n", ""),
        ("SELECT pg_catalog.setval('public.a_seq', 1, false);", ""),
        ("SELECT pg_catalog.setval('public.\"b''s\"', 7, false);", ""),
        ("-- A comment; with a semicolon\n", ""),
        (
            f'GRANT {ALL_BUT_DELETE} ON TABLE public."a TO b" TO {US};',
            (
                'GRANT ALL ON TABLE public."a TO b" TO CURRENT_USER;\n'
                'REVOKE DELETE ON TABLE public."a TO b" FROM CURRENT_USER;\n'
            ),
        ),
        (
            (
                f"ALTER DEFAULT PRIVILEGES FOR ROLE {US} IN SCHEMA s GRANT {ALL_BUT_DELETE}"
                " ON TABLES TO b WITH GRANT OPTION;"
            ),
            (
                "ALTER DEFAULT PRIVILEGES IN SCHEMA s GRANT ALL ON TABLES TO b WITH GRANT OPTION;\n"
                "ALTER DEFAULT PRIVILEGES IN SCHEMA s REVOKE DELETE ON TABLES FROM b;\n"
            ),
        ),
        (
            (
                "GRANT DELETE ON TABLE a TO b WITH GRANT OPTION;"
                f"GRANT {ALL_BUT_DELETE} ON TABLE a TO b;"
            ),
            (
                "GRANT DELETE ON TABLE a TO b WITH GRANT OPTION;\n"
                f"GRANT {ALL_BUT_DELETE} ON TABLE a TO b;\n"
            ),
        ),
        ("GRANT SELECT,MAINTAIN ON TABLE a TO b;", "GRANT SELECT,MAINTAIN ON TABLE a TO b;\n"),
        (
            f"CREATE USER MAPPING FOR {US} SERVER s OPTIONS (\n    a 'x'\n);",
            "\nCREATE USER MAPPING FOR CURRENT_USER SERVER s OPTIONS (\n    a 'x'\n);\n",
        ),
    ],
)
def test_a_statement(dumped: str, kept: str) -> None:
    assert clean(f"{dumped}\n", AROUND) == HEAD + kept


def test_rows_are_inserted_with_the_usual_path() -> None:
    dump = (
        "CREATE TABLE public.a (\n    b text\n);\n\n"
        "COPY public.a (b) FROM stdin;\n\\N\n;\n--\n\\.\n\n"
        "SELECT pg_catalog.setval('public.a_seq', 5, true);\n"
        "CREATE INDEX i ON public.a USING btree (b);\n"
    )
    assert clean(dump, AROUND) == (
        f"{HEAD}\nCREATE TABLE public.a (\n    b text\n);\n\nRESET search_path;\n\n"
        "COPY public.a (b) FROM stdin;\n\\N\n;\n--\n\\.\n\n"
        "SELECT pg_catalog.setval('public.a_seq', 5, true);\nSET LOCAL search_path TO '';\n"
        "CREATE INDEX i ON public.a USING btree (b);\n"
    )


def test_the_rights_on_schemas_are_given_before_what_is_in_them() -> None:
    """A role that is to own a table needs them."""
    dump = (
        "CREATE SCHEMA s;\nALTER SCHEMA s OWNER TO x;\nCREATE TABLE s.a ();\n"
        "ALTER TABLE s.a OWNER TO x;\nREVOKE USAGE ON SCHEMA public FROM PUBLIC;\n"
        "GRANT ALL ON SCHEMA public TO x;\nSET SESSION AUTHORIZATION x;\n"
        "GRANT USAGE ON SCHEMA s TO y;\nRESET SESSION AUTHORIZATION;\n"
        "GRANT ALL ON TABLE s.a TO y;\n"
    )
    assert clean(dump, AROUND) == (
        f"{HEAD}CREATE SCHEMA s;\nALTER SCHEMA s OWNER TO x;\n"
        "REVOKE USAGE ON SCHEMA public FROM PUBLIC;\nGRANT ALL ON SCHEMA public TO x;\n"
        "CREATE TABLE s.a ();\nALTER TABLE s.a OWNER TO x;\nSET LOCAL ROLE x;\n"
        "GRANT USAGE ON SCHEMA s TO y;\nRESET ROLE;\nGRANT ALL ON TABLE s.a TO y;\n"
    )


def test_the_commands_of_psql_at_both_ends_alone() -> None:
    dump = (
        "--\n-- PostgreSQL database dump\n--\n\n\\restrict abc\n\nSET x = 1;\n"
        "COPY public.a (b) FROM stdin;\n\\restrict abc\n\\unrestrict abc\n\\.\n\n\\unrestrict abc\n"
    )
    assert clean(dump, AROUND) == (
        f"{HEAD}RESET search_path;\n\n"
        "COPY public.a (b) FROM stdin;\n\\restrict abc\n\\unrestrict abc\n\\.\n"
    )
