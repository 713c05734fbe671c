"""Which targets a list has, and what is wrong with a list."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from migrator.fleet import targets
from migrator.fleet.targets import Target
from migrator.process.errors import UsageError
from migrator.process.log import redact
from migrator.process.settings import Settings, load_settings
from migrator.process.signals import Stop

if TYPE_CHECKING:
    from pathlib import Path

FIRST_OF_SEVEN = ["tenant_10", "tenant_17", "tenant_19"]
BASE = "postgresql://app:secret-word-1@db1:5433/main?sslmode=require"


def read(tmp_path: Path, text: str) -> list[Target]:
    path = tmp_path / "targets"
    path.write_text(text)
    return targets.read_targets(str(path), Stop())


def mistakes(tmp_path: Path, text: str) -> str:
    with pytest.raises(UsageError) as refused:
        read(tmp_path, text)
    return refused.value.message.replace(str(tmp_path / "targets"), "FILE")


def settings(target: Target, **environ: str) -> Settings:
    environ = {"DATABASE_URL": BASE, **environ}
    return target.settings(load_settings(environ), environ)


def test_a_line_has_a_name_and_what_differs(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "\ufeff# name  what differs\n"
        "acme      database=acme\n"
        "\n"
        "  globex\tschema=tenant_7\n"
        "initech   host=db2 port=5434 database='of initech' schema='\"a.b\"'\r\n"
        "umbrella  postgresql://other:p%40ss@db3/umbrella?sslmode=require schema=x\n",
    )
    assert found == [
        Target("acme", parameters=(("dbname", "acme"),)),
        Target("globex", schema="tenant_7"),
        Target(
            "initech",
            parameters=(("host", "db2"), ("port", "5434"), ("dbname", "of initech")),
            schema="a.b",
        ),
        Target("umbrella", "postgresql://other:p%40ss@db3/umbrella?sslmode=require", (), "x"),
    ]


@pytest.mark.parametrize(
    ("schema", "read_as"),
    [("tenant-7", "tenant-7"), ("Tenant", "Tenant"), ("'\"a.b\"'", "a.b")],
)
def test_a_schema_is_written_as_in_migrator_schema(
    tmp_path: Path, schema: str, read_as: str
) -> None:
    assert read(tmp_path, f"a schema={schema}")[0].schema == read_as


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "FILE: there are no targets"),
        ("# nothing\n\n", "FILE: there are no targets"),
        ("acme", "FILE: line 1: 'acme' does not say in what it differs from DATABASE_URL"),
        ("\na user=x", "FILE: line 2: 'a': user= is not possible here: a line has host="),
        ("a tenant_a", "FILE: line 1: 'a': a word without = is not possible here: a line has"),
        ("a schema=", "FILE: line 1: 'a': schema= has no value"),
        ("a schema=x schema=y", "FILE: line 1: 'a': schema= is there twice"),
        ("a schema=pg_catalog", "FILE: line 1: 'a': the name of the schema: the schemas pg_"),
        ("a schema=x.y", "FILE: line 1: 'a': the name of the schema: expected the name of one"),
        ("a database='x", "FILE: line 1: 'a': a quote is not closed"),
        ("a host=x port=http", "FILE: line 1: port= is no number from 1 to 65535"),
        ("a mysql://x/y", "FILE: line 1: the address of 'a' does not begin with postgresql://"),
        ("a schema=x\na schema=y", "FILE: the name 'a' is there twice"),
        ("postgresql://h/d", "FILE: line 1: an address stands in the place of the name"),
        ("a schema=x postgresql://h/d", "FILE: line 1: 'a': an address is possible right after"),
        ("a database=postgresql://h/d", "FILE: line 1: 'a': an address is possible right after"),
        ("a database=x\0y", "FILE: line 1: a NUL is not possible here"),
        ("a\nb\nc schema=c", "FILE: line 1: 'a' does not say"),
    ],
)
def test_nonsense_is_an_error_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    assert message in mistakes(tmp_path, text)


def test_every_mistake_is_named_up_to_ten(tmp_path: Path) -> None:
    lines = mistakes(tmp_path, "\n".join(f"t{n}" for n in range(12))).splitlines()
    assert [line.split(": ")[1] for line in lines] == [
        *(f"line {n}" for n in range(1, 11)),
        "and 2 more",
    ]


def test_no_mistake_shows_a_password(tmp_path: Path) -> None:
    for line in (
        "a postgresql://u:hunter22secret@h:x/d",
        "a postgresql://u:hunter22secret@h/d%zz",
        "a postgresql://u:hunter22secret@h/d password=hunter22secret",
        "a postgresql://u:hunter22/secret@h/d",
        "a host=x password=hunter22secret",
        "a hunter22secret",
        "postgresql://u:hunter22secret@h/d",
        "postgresql://u:hunter22secret@h/d?sslmode=require",
        "a=postgresql://u:hunter22secret@h/d",
        "a database=x postgresql://u:hunter22secret@h/d?sslmode=require",
        "a postgresql:/u:hunter22secret@h/d?x=1",
        "a port=hunter22secret",
        "a schema=u:hunter22secret@h",
        "a database=postgresql://u:hunter22secret@h/d",
        "a 'postgresql://u:hunter22secret@h/d'",
    ):
        assert "hunter22" not in redact(mistakes(tmp_path, line)), line


@pytest.mark.parametrize("name", ["missing", "."])
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="MIGRATOR_TARGETS="):
        targets.read_targets(str(tmp_path / name), Stop())


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "targets").write_bytes(b"a schema=\xff")
    with pytest.raises(UsageError, match="not valid UTF-8"):
        targets.read_targets(str(tmp_path / "targets"), Stop())


def test_what_a_target_does_not_say_is_that_of_database_url() -> None:
    one = settings(Target("a", parameters=(("dbname", "acme"),)))
    assert "dbname=acme" in one.url
    for kept in ("host=db1", "port=5433", "user=app", "password=secret-word-1", "sslmode=require"):
        assert kept in one.url
    two = settings(Target("b", schema="tenant"))
    assert (two.url, two.schema, two.table.schema) == (BASE, "tenant", "tenant")
    three = settings(Target("c", url="postgresql://h/d"), MIGRATOR_SCHEMA="both")
    assert (three.url, three.schema) == ("postgresql://h/d", "both")


def test_a_host_of_a_target_is_not_overruled_by_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOSTADDR", "192.0.2.1")
    environ = {"DATABASE_URL": "host=a hostaddr=192.0.2.2 dbname=x"}
    base = load_settings(environ)
    assert "192.0.2" not in Target("a", parameters=(("host", "b"),)).settings(base, environ).url
    assert "192.0.2.2" in Target("a", parameters=(("dbname", "b"),)).settings(base, environ).url


def test_a_history_in_another_schema_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'ops\.history' is in another schema"):
        settings(Target("a", schema="tenant"), MIGRATOR_TABLE="ops.history")
    one = settings(Target("a", schema="tenant"), MIGRATOR_TABLE="history")
    assert (one.table.schema, one.table.name) == ("tenant", "history")


@pytest.mark.parametrize(
    "twice",
    [
        (Target("b", parameters=(("dbname", "main"),)), Target("a", schema="")),
        (Target("b", schema="x"), Target("a", schema="x")),
        (
            Target("b", url="postgresql://other@db1:5433/main", schema="x"),
            Target("a", schema="x"),
        ),
        (
            Target("b", parameters=(("dbname", "m"), ("host", "h"))),
            Target("a", parameters=(("host", "H"), ("dbname", "m"), ("port", "05433"))),
        ),
        (
            Target("b", parameters=(("dbname", "m"),), schema="public"),
            Target("a", parameters=(("dbname", "m"),)),
        ),
    ],
)
def test_two_names_of_the_same_place_are_refused(twice: tuple[Target, Target]) -> None:
    environ = {"DATABASE_URL": BASE}
    with pytest.raises(UsageError, match="the targets 'b' and 'a' are the same database"):
        targets.require_distinct(twice, load_settings(environ), environ)


def test_every_target_belongs_to_one_shard_and_stays_there() -> None:
    everything = [Target(f"tenant_{n}", schema=f"s{n}") for n in range(1000)]
    parts = [targets.part_of(everything, f"{n}/7", {}) for n in range(7)]
    assert sorted(one.name for part in parts for one in part) == sorted(
        one.name for one in everything
    )
    assert all(100 < len(part) < 190 for part in parts)
    fewer = targets.part_of(everything[::2], "3/7", {})
    assert fewer == [one for one in parts[3] if one in everything[::2]]
    # The same on every machine and in every release, or two pods would take the same target.
    assert [one.name for one in targets.part_of(everything[:20], "0/7", {})] == FIRST_OF_SEVEN


def test_kubernetes_numbers_the_shards() -> None:
    assert targets.shard_of("10", {"JOB_COMPLETION_INDEX": "9"}) == (9, 10)
    assert targets.shard_of("2/10", {"JOB_COMPLETION_INDEX": "9"}) == (2, 10)
    with pytest.raises(UsageError, match="nothing says which one this is"):
        targets.shard_of("10", {})
    with pytest.raises(UsageError, match="JOB_COMPLETION_INDEX=10, and MIGRATOR_SHARD=10 has"):
        targets.shard_of("10", {"JOB_COMPLETION_INDEX": "10"})


@pytest.mark.parametrize("text", ["10/10", "x", "1/", "/3", "-1/3", "1/2/3", "0"])
def test_a_shard_that_makes_no_sense(text: str) -> None:
    with pytest.raises(UsageError, match="MIGRATOR_SHARD"):
        load_settings({"DATABASE_URL": BASE, "MIGRATOR_SHARD": text})


def test_canaries_are_the_first_ones_or_those_with_names() -> None:
    everything = [Target(name, schema=name) for name in "abcd"]
    assert targets.canaries_of(everything, "0") == []
    assert targets.canaries_of(everything, "2") == everything[:2]
    assert targets.canaries_of(everything, "9") == everything
    assert targets.canaries_of(everything, "c, a,c") == [everything[2], everything[0]]
    odd = [Target("x", schema="x"), Target("5", schema="y"), Target("a,b", schema="z")]
    assert targets.canaries_of(odd, "5") == [odd[1]]
    assert targets.canaries_of(odd, "a,b") == [odd[2]]
    with pytest.raises(UsageError, match="no target has the name 'x'"):
        targets.canaries_of(everything, "a,x")


def test_a_target_that_libpq_would_not_find_is_refused_by_its_name() -> None:
    environ = {"DATABASE_URL": ""}
    base = load_settings(environ)
    for wrong, words in (
        (Target("b", schema="x"), "the target 'b': no database is given"),
        (Target("b", url="postgresql://h:99999/d"), "the target 'b': the port is no number"),
        (Target("b", url="postgresql://h/d?bogus=1"), "the target 'b': is not valid: libpq has no"),
    ):
        first = Target("a", url="postgresql://h/d")
        with pytest.raises(UsageError, match=words):
            targets.require_distinct([first, wrong], base, environ)


def test_a_name_that_no_target_has() -> None:
    everything = [Target(name, schema=name) for name in ("acme", "globex")]
    assert targets.named(everything, "acme") is everything[0]
    with pytest.raises(UsageError, match="none of the 2 targets") as refused:
        targets.named(everything, "acne")
    assert refused.value.hint == "Did you mean 'acme'?"
