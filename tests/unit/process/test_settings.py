"""Environment variables become settings, or an error that names the variable and no password."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from psycopg2.extensions import parse_dsn

from migrator.failure.advice import by_code
from migrator.process.errors import UsageError
from migrator.process.names import Table
from migrator.process.settings import (
    VARIABLES,
    LogSettings,
    Settings,
    Variable,
    check_names,
    duration,
    given_as,
    load_log_settings,
    load_settings,
    remember_flags,
    require_database,
)
from migrator.process.url import normalise_url, secret_of
from migrator.server.activity import wait_hint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEFAULTS = Settings(
    url="",
    password=None,
    directory="migrations",
    wait=60,
    lock_wait=600,
    lock_timeout=3,
    statement_timeout=0,
    lock_hold_warn=1,
    lock_hold_max=0,
    heartbeat=10,
    table=Table("public", "schema_migrations"),
    refuse_ahead=False,
    allow_out_of_order=False,
)
SECRET = "hunter2-Zq9"


def told(error: pytest.ExceptionInfo[UsageError]) -> str:
    """Return everything that an error says."""
    return f"{error.value.message}\n{error.value.hint}"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("3s", 3),
        ("10min", 600),
        ("1h", 3600),
        ("2.5", 2.5),
        ("0", 0),
        ("0.5 h", 1800),
        ("1ms", 0.001),
        ("576h", 2_073_600),
        (" 7 s ", 7),
    ],
)
def test_duration(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "s", "3d", "3m", "-1s", "+1s", "1,5s", "1e3", "inf", "nan", "3 s 4 s", "3S", "٣s"]
)
def test_not_a_duration(text: str) -> None:
    with pytest.raises(ValueError, match="expected a number with a unit: 500ms, 3s, 10min or 1h"):
        duration(text)


@pytest.mark.parametrize("text", ["0.9ms", "0.0001", "577h", "2147484s", "9" * 400])
def test_a_duration_that_the_server_cannot_count(text: str) -> None:
    with pytest.raises(ValueError, match="expected 0, or at least 1ms and at most 576h"):
        duration(text)


class TestNames:
    def test_all_that_exist_are_accepted(self) -> None:
        assert check_names({variable.name: "" for variable in VARIABLES}) == []

    @pytest.mark.parametrize(
        "name",
        [
            "PGHOST",
            "DATABASE_URI",
            "MIGRATIONS_DIRECTORY",
            "MIGRATOR",
            "migrator_wait",
            "MIGRATOR_IMAGE",
            # What Kubernetes sets in every container for a Service called migrator, and for one
            # called migrator-proxy.
            "MIGRATOR_SERVICE_HOST",
            "MIGRATOR_SERVICE_PORT",
            "MIGRATOR_SERVICE_PORT_HTTP",
            "MIGRATOR_PORT",
            "MIGRATOR_PORT_8000_TCP",
            "MIGRATOR_PORT_8000_TCP_ADDR",
            "MIGRATOR_PROXY_SERVICE_HOST",
            "MIGRATOR_PROXY_PORT_80_TCP_PROTO",
        ],
    )
    def test_those_of_others_are_left_alone(self, name: str) -> None:
        assert check_names({name: "x"}) == []

    @pytest.mark.parametrize(
        ("name", "meant"),
        [
            ("MIGRATOR_WAITT", "MIGRATOR_WAIT"),
            ("MIGRATOR_WIAT", "MIGRATOR_WAIT"),
            ("MIGRATOR_LOCK_TIME_OUT", "MIGRATOR_LOCK_TIMEOUT"),
            ("MIGRATOR_STATEMENT_TIMOUT", "MIGRATOR_STATEMENT_TIMEOUT"),
            ("MIGRATOR_LOGLEVEL", "MIGRATOR_LOG_LEVEL"),
            ("MIGRATOR_TABEL", "MIGRATOR_TABLE"),
            ("MIGRATOR_OUTOFORDER", "MIGRATOR_OUT_OF_ORDER"),
            ("MIGRATOR_METRICS", "MIGRATOR_METRICS_FILE"),
            ("MIGRATOR_DIR", "MIGRATIONS_DIR"),
            ("MIGRATOR_DATABASE_URL", "DATABASE_URL"),
        ],
    )
    def test_a_misspelt_one_is_an_error_that_knows_the_right_one(
        self, name: str, meant: str
    ) -> None:
        with pytest.raises(UsageError) as error:
            check_names({"MIGRATOR_FOO": "1", name: SECRET})
        assert error.value.message == f"{name} is not a setting of migrator"
        assert error.value.hint == f"Did you mean {meant}?"

    @pytest.mark.parametrize("variable", [v for v in VARIABLES if v.name.startswith("MIGRATOR_")])
    def test_a_letter_too_many_or_too_few_is_found_in_every_name(self, variable: Variable) -> None:
        for name in (f"{variable.name}S", variable.name[:-1]):
            with pytest.raises(UsageError):
                check_names({name: "1"})

    @pytest.mark.parametrize("name", ["FOO", "TAG", "VERSION", "NAME", "ENABLED", "REPLICAS"])
    def test_one_that_is_like_no_other_is_told(self, name: str) -> None:
        assert check_names({f"MIGRATOR_{name}": "1", "MIGRATOR_WAIT": "1s"}) == [f"MIGRATOR_{name}"]


def test_a_flag_says_what_follows_it() -> None:
    assert {variable.flag: variable.metavar for variable in VARIABLES if variable.flag} == {
        "--dir": "FOLDER",
        "--wait": "TIME",
        "--lock-wait": "TIME",
        "--lock-timeout": "TIME",
        "--statement-timeout": "TIME",
        "--metrics-file": "FILE",
        "--targets": "FILE",
        "--targets-query": "SQL",
        "--target": "NAME",
        "--jobs": "N",
        "--canary": "N|NAME,...",
        "--max-failures": "N",
        "--shard": "I/N",
    }


class TestLoad:
    @pytest.mark.parametrize(
        "environ", [{}, {variable.name: "" for variable in VARIABLES}], ids=["unset", "empty"]
    )
    def test_without_anything_the_defaults_hold(self, environ: dict[str, str]) -> None:
        assert load_settings(environ) == Settings() == DEFAULTS
        assert load_log_settings(environ) == LogSettings() == LogSettings("auto", "info")

    @pytest.mark.parametrize(
        ("name", "value", "expected"),
        [
            ("DATABASE_URL", "postgres://h/d", DEFAULTS._replace(url="postgresql://h/d")),
            ("POSTGRES_PASSWORD", "p@:/%#?w", DEFAULTS._replace(password="p@:/%#?w")),
            ("MIGRATIONS_DIR", "/sql", DEFAULTS._replace(directory="/sql")),
            ("MIGRATOR_WAIT", "0", DEFAULTS._replace(wait=0)),
            ("MIGRATOR_LOCK_WAIT", "2h", DEFAULTS._replace(lock_wait=7200)),
            ("MIGRATOR_LOCK_TIMEOUT", "250ms", DEFAULTS._replace(lock_timeout=0.25)),
            ("MIGRATOR_STATEMENT_TIMEOUT", "5min", DEFAULTS._replace(statement_timeout=300)),
            ("MIGRATOR_LOCK_HOLD_WARN", "4s", DEFAULTS._replace(lock_hold_warn=4)),
            ("MIGRATOR_LOCK_HOLD_MAX", "5s", DEFAULTS._replace(lock_hold_max=5)),
            ("MIGRATOR_HEARTBEAT", "6s", DEFAULTS._replace(heartbeat=6)),
            ("MIGRATOR_TABLE", "applied", DEFAULTS._replace(table=Table("public", "applied"))),
            ("MIGRATOR_TABLE", '"a.b"."c""d"', DEFAULTS._replace(table=Table("a.b", 'c"d'))),
            ("MIGRATOR_TABLE", "tenant-42.1", DEFAULTS._replace(table=Table("tenant-42", "1"))),
            ("MIGRATOR_ROLE", "App-Owner", DEFAULTS._replace(role="App-Owner")),
            (
                "MIGRATOR_SCHEMA",
                '"a b"',
                DEFAULTS._replace(schema="a b", table=Table("a b", "schema_migrations")),
            ),
            (
                "MIGRATOR_SET",
                "app.Env=x\n  app.b.c='a, b.c=d'  'app.d=a,b.c=d' app.e=",
                DEFAULTS._replace(
                    values=(
                        ("app.env", "x"),
                        ("app.b.c", "a, b.c=d"),
                        ("app.d", "a,b.c=d"),
                        ("app.e", ""),
                    )
                ),
            ),
            ("MIGRATOR_TABLE", "ops.Done", DEFAULTS._replace(table=Table("ops", "Done"))),
            ("MIGRATOR_AHEAD", "Refuse", DEFAULTS._replace(refuse_ahead=True)),
            ("MIGRATOR_OUT_OF_ORDER", "allow", DEFAULTS._replace(allow_out_of_order=True)),
            ("MIGRATOR_POOLER", "session", DEFAULTS._replace(session_pooler=True)),
            ("MIGRATOR_METRICS_FILE", "/m.prom", DEFAULTS._replace(metrics_file="/m.prom")),
            (
                "MIGRATOR_SCRATCH_URL",
                "postgres://h",
                DEFAULTS._replace(scratch_url="postgresql://h"),
            ),
        ],
    )
    def test_each_variable_sets_one_thing(self, name: str, value: str, expected: Settings) -> None:
        assert load_settings({name: value}) == expected

    @pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "ERROR"])
    def test_how_to_log(self, level: str) -> None:
        environ = {"MIGRATOR_LOG_LEVEL": level, "MIGRATOR_LOG_FORMAT": "json"}
        assert load_log_settings(environ) == LogSettings("json", level.lower())

    @pytest.mark.parametrize(
        ("name", "value", "reason"),
        [
            ("MIGRATOR_WAIT", "soon", "expected a number with a unit: 500ms, 3s, 10min or 1h"),
            ("MIGRATOR_LOCK_WAIT", "1d", "expected a number with a unit: 500ms, 3s, 10min or 1h"),
            ("MIGRATOR_AHEAD", "ignore", "expected warn or refuse"),
            ("MIGRATOR_OUT_OF_ORDER", "yes", "expected refuse or allow"),
            *(
                ("MIGRATOR_TABLE", name, "expected a table name, or schema.table")
                for name in ('a"b', "a b", "a.b.c", "a.", ".a", "x" * 64, "t; DROP TABLE t", "$a$")
            ),
        ],
    )
    def test_a_value_that_is_not_allowed_is_named_with_what_is(
        self, name: str, value: str, reason: str
    ) -> None:
        with pytest.raises(UsageError) as error:
            load_settings({name: value})
        assert error.value.message.startswith(f"{name}={value!r}: {reason}")

    @pytest.mark.parametrize(
        ("name", "value", "reason"),
        [
            ("MIGRATOR_LOG_LEVEL", "loud", "expected debug, info, warning or error"),
            ("MIGRATOR_LOG_FORMAT", "xml", "expected auto, json or console"),
        ],
    )
    def test_a_way_to_log_that_does_not_exist(self, name: str, value: str, reason: str) -> None:
        with pytest.raises(UsageError) as error:
            load_log_settings({name: value})
        assert error.value.message == f"{name}={value!r}: {reason}"


class TestFlags:
    """A setting is named as it was given."""

    @pytest.fixture(autouse=True)
    def forget(self) -> Iterator[None]:
        yield
        remember_flags(())

    @pytest.mark.parametrize("variable", [v for v in VARIABLES if v.flag], ids=lambda v: v.flag)
    def test_a_setting_has_the_name_of_the_flag_if_that_was_given(self, variable: Variable) -> None:
        remember_flags({variable.name: "x"})
        assert given_as(variable.name) == variable.flag
        remember_flags({})
        assert given_as(variable.name) == variable.name

    def test_a_wrong_value_is_told_with_that_name(self) -> None:
        environ = {"MIGRATOR_LOCK_TIMEOUT": "3m", "MIGRATOR_WAIT": "1s"}
        for flags, name in ((("MIGRATOR_LOCK_TIMEOUT",), "--lock-timeout"), ((), None)):
            remember_flags(flags)
            with pytest.raises(UsageError) as error:
                load_settings(environ)
            assert error.value.message.startswith(f"{name or 'MIGRATOR_LOCK_TIMEOUT'}='3m': ")

    def test_an_advice_has_that_name(self) -> None:
        """A variable would not change anything, because the flag wins."""
        remember_flags({"MIGRATOR_LOCK_WAIT", "MIGRATIONS_DIR"})
        assert wait_hint(None).endswith("or raise --lock-wait to wait longer.")
        assert by_code("55P03", "").endswith("--lock-wait sets how long it keeps trying.")
        remember_flags(())
        assert wait_hint(None).endswith("or raise MIGRATOR_LOCK_WAIT to wait longer.")
        assert by_code("55P03", "").endswith("MIGRATOR_LOCK_WAIT sets how long it keeps trying.")


class TestSecretsInFiles:
    @pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n"])
    def test_line_breaks_at_the_end_do_not_count(self, tmp_path: Path, end: str) -> None:
        file = tmp_path / "secret"
        file.write_bytes(f" p@:/%#?w {end}".encode())
        assert load_settings({"POSTGRES_PASSWORD_FILE": str(file)}).password == " p@:/%#?w "

    def test_a_url(self, tmp_path: Path) -> None:
        file = tmp_path / "url"
        file.write_text("postgres://u:p%40@h/d\n")
        assert load_settings({"DATABASE_URL_FILE": str(file)}).url == "postgresql://u:p%40@h/d"

    @pytest.mark.parametrize("name", ["DATABASE_URL", "POSTGRES_PASSWORD", "MIGRATOR_SCRATCH_URL"])
    def test_only_one_of_the_two_may_be_set(self, tmp_path: Path, name: str) -> None:
        file = tmp_path / "secret"
        file.write_text(SECRET)
        with pytest.raises(UsageError) as error:
            load_settings({name: f"postgres://u:{SECRET}@h", f"{name}_FILE": str(file)})
        assert error.value.message == f"both {name} and {name}_FILE are set"
        assert SECRET not in told(error)

    @pytest.mark.parametrize("name", ["DATABASE_URL_FILE", "POSTGRES_PASSWORD_FILE"])
    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (None, "No such file or directory"),
            (b"", "the file is empty"),
            (b"\r\n\n", "the file is empty"),
            (SECRET.encode() + b"\xff", "not valid UTF-8"),
        ],
        ids=["missing", "empty", "line breaks", "not UTF-8"],
    )
    def test_a_file_that_is_no_use_is_named(
        self, tmp_path: Path, name: str, content: bytes | None, reason: str
    ) -> None:
        file = tmp_path / "secret"
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(UsageError) as error:
            load_settings({name: str(file)})
        assert error.value.message == f"{name}={file}: {reason}"
        assert SECRET not in told(error)

    def test_a_folder_is_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="Is a directory"):
            load_settings({"POSTGRES_PASSWORD_FILE": str(tmp_path)})


class TestUrl:
    @pytest.mark.parametrize(
        ("given_url", "normal"),
        [
            ("postgresql://u:p@h:5/d?sslmode=require", "postgresql://u:p@h:5/d?sslmode=require"),
            ("postgres://u:p@h/d", "postgresql://u:p@h/d"),
            ("postgresql+psycopg2://u:p@h/d", "postgresql://u:p@h/d"),
            ("postgresql+psycopg://u:p@h/d", "postgresql://u:p@h/d"),
            ("postgresql+asyncpg://u:p@h/d?ssl=require", "postgresql://u:p@h/d?sslmode=require"),
            ("postgresql+asyncpg://h/d?a=1&ssl=require", "postgresql://h/d?a=1&sslmode=require"),
            ("postgresql://h/d?ssl=require", "postgresql://h/d?ssl=require"),
            ("  postgresql://u@h/d\n", "postgresql://u@h/d"),
            ("postgresql://", "postgresql://"),
            ("postgresql:///d", "postgresql:///d"),
            ("postgresql:///d?host=/run/postgresql", "postgresql:///d?host=/run/postgresql"),
            ("postgresql://u@%2Frun%2Fpostgresql/d", "postgresql://u@%2Frun%2Fpostgresql/d"),
            ("postgresql://u:p@[::1]:5433/d", "postgresql://u:p@[::1]:5433/d"),
            ("postgresql://a:1,b:2/d", "postgresql://a:1,b:2/d"),
            ("host=h dbname='a b'", "host=h dbname='a b'"),
        ],
    )
    def test_every_usual_spelling_is_understood(self, given_url: str, normal: str) -> None:
        assert normalise_url(given_url) == normal

    @pytest.mark.parametrize(
        "url",
        [
            f"mysql://u:{SECRET}@h/d",
            f"postgresq://u:{SECRET}@h/d",
            f"POSTGRES://u:{SECRET}@h/d",
            f"u:{SECRET}@h/d",
            f"//u:{SECRET}@h/d",
            f"jdbc:postgresql://h/d?password={SECRET}",
            SECRET,
        ],
    )
    def test_another_scheme_is_an_error_that_does_not_show_the_url(self, url: str) -> None:
        with pytest.raises(UsageError) as error:
            normalise_url(url)
        assert "postgresql://user:password@host:5432/database" in error.value.hint
        assert SECRET not in told(error)

    @pytest.mark.parametrize("character", "@/%")
    def test_a_character_that_libpq_would_take_for_a_separator_is_to_be_encoded(
        self, character: str
    ) -> None:
        with pytest.raises(UsageError) as error:
            normalise_url(f"postgresql://app:{SECRET}{character}zz@db:5432/app")
        assert "DATABASE_URL" in error.value.message
        assert "Percent-encode @ : / % # ?" in error.value.hint
        assert SECRET not in told(error)

    @pytest.mark.parametrize(
        "url",
        [
            f"postgresql://app:{SECRET}",
            f"postgresql://app:{SECRET}/app",
            f"postgresql://db:5432,app:{SECRET}/app",
            f"postgresql://app:{SECRET}?sslmode=require",
        ],
    )
    def test_a_password_in_the_place_of_a_port_is_not_shown(self, url: str) -> None:
        with pytest.raises(UsageError) as error:
            normalise_url(url)
        assert error.value.message == "DATABASE_URL has a port that is not a number"
        assert SECRET not in told(error)

    @settings(deadline=None)
    @given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
    @example("@:/%#?")
    def test_any_password_works_when_it_is_percent_encoded(self, password: str) -> None:
        url = normalise_url(f"postgres://app:{quote(password, safe='')}@db:5432/app")
        assert parse_dsn(url) == {
            "user": "app",
            "password": password,
            "host": "db",
            "port": "5432",
            "dbname": "app",
        }

    @pytest.mark.parametrize("escaped", ["%E4", "%80abc", "%00"])
    def test_what_is_no_text_when_decoded_is_refused(self, escaped: str) -> None:
        with pytest.raises(UsageError) as error:
            normalise_url(f"postgresql://app:{escaped}{SECRET}@db/app")
        assert error.value.message == "DATABASE_URL has a %XX that is not UTF-8 text"
        assert SECRET not in told(error)

    # A % before two hexadecimal digits is an escape: nobody can tell that it was not meant as one.
    @settings(deadline=None)
    @given(st.text(st.sampled_from("abz09@:/%#?&=+[],.~ü"), min_size=1))
    @example("a?b/c")
    @example("a#b/c")
    @example("x@evil/app")
    @example("a@b:5432/c?d=")
    def test_any_password_as_it_is_either_works_or_is_refused(self, password: str) -> None:
        url = f"postgresql://app:{password}@db:5432/app?sslmode=require"
        try:
            normal = normalise_url(url)
        except UsageError as error:
            said = f"{error.message}\n{error.hint}"
            assert re.match("DATABASE_URL .*\nPercent-encode @ : / % # ?", said)
            assert f":{password}@" not in said
        else:
            connection = parse_dsn(normal)
            decoded = parse_dsn(f"postgresql://:{password}@")["password"]
            assert connection == {
                "user": "app",
                "password": decoded,
                "host": "db",
                "port": "5432",
                "dbname": "app",
                "sslmode": "require",
            }
            assert "%" in password or decoded == password


class TestSecretOf:
    """It is hidden before the driver has read the URL."""

    @pytest.mark.parametrize(
        ("url", "secret", "names"),
        [
            ("postgresql://me:a%2Fb@h:5/d?x=y", "a/b", {"me", "h", "d"}),
            ("postgresql://me@h/d?x=y&password=a%26b", "a&b", {"me", "h", "d"}),
            ("host=h user=me password='a \\\\ \\' b' dbname=d", "a \\ ' b", {"me", "h", "d"}),
            ("host=h password = abc", "abc", {"", "h"}),
            ("postgresql://h/d", "", {"", "h", "d"}),
            ("", "", {""}),
        ],
    )
    def test_is_the_password(self, url: str, secret: str, names: set[str]) -> None:
        assert secret_of(url) == (secret, frozenset(names))


class TestWhichDatabase:
    @pytest.mark.parametrize(
        ("url", "environ"),
        [
            ("postgresql://h/d", {}),
            ("", {"PGHOST": "h"}),
            ("", {"PGHOSTADDR": "127.0.0.1"}),
            ("", {"PGDATABASE": "d"}),
            ("", {"PGSERVICE": "s"}),
        ],
    )
    def test_is_said(self, url: str, environ: dict[str, str]) -> None:
        require_database(DEFAULTS._replace(url=url), environ)

    @pytest.mark.parametrize("environ", [{}, {"PGHOST": ""}, {"PGUSER": "u", "PGPASSWORD": SECRET}])
    def test_is_not_said(self, environ: dict[str, str]) -> None:
        with pytest.raises(UsageError) as error:
            require_database(DEFAULTS, environ)
        assert error.value.message == "no database is given"
        assert "DATABASE_URL" in error.value.hint
        assert SECRET not in told(error)
