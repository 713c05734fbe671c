"""What of a file of another tool is run."""

from __future__ import annotations

import pytest

from migrator.adoption.marks import COMMENTS, SEMICOLON, WAY_DOWN, way_up

UP = "CREATE TABLE pets (id int);\n"
DOWN = "DROP TABLE pets;\n"


@pytest.mark.parametrize(
    ("tool", "up", "down"),
    [
        ("dbmate", "-- migrate:up", "-- migrate:down"),
        ("dbmate", "--migrate:up", "-- migrate:down transaction:false"),
        ("goose", "-- +goose Up", "-- +goose Down"),
        ("goose", "-- +goose UP", "--+goose down"),
        ("sql-migrate", "-- +migrate Up", "-- +migrate Down"),
        ("micrate", "-- +micrate Up", "-- +micrate Down"),
        ("rambler", "-- rambler up", "-- rambler down"),
        ("node-pg-migrate", "-- Up Migration", "-- Down Migration"),
        ("node-pg-migrate", "-- ==== Up Migration ====", "-- ==== Down Migration ===="),
        ("node-pg-migrate", "-- Up Migration", "-- Down Migration of the pets"),
        ("tern", "", "---- create above / drop below ----"),
        ("mybatis", "", "--//@UNDO"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_way_down_is_left_out(tool: str, up: str, down: str, end: str) -> None:
    text = "\n".join(filter(None, ("-- Add pets", up, UP.strip(), "", down, DOWN))).replace(
        "\n", end
    )
    found = way_up(text)
    assert found.text == f"-- Add pets\n{UP}".replace("\n", end)
    assert found.tool == tool
    assert set(found.changes) == {COMMENTS, WAY_DOWN}
    assert not found.alone


@pytest.mark.parametrize(
    "text",
    [
        f"-- migrate:up transaction:false\n{UP}",
        f"-- migrate:up foo:bar transaction: false\n{UP}",
        f"-- +goose NO TRANSACTION\n-- +goose Up\n{UP}",
        f"-- +migrate Up notransaction\n{UP}",
        f"---- tern: disable-tx ----\n{UP}",
        f"-- no-transaction\n{UP}",
        f"-- atlas:txmode none\n\n{UP}",
        f"-- flyway:executeInTransaction=false\n{UP}",
        f"--! no-transaction\n{UP}",
    ],
)
def test_outside_a_transaction(text: str) -> None:
    found = way_up(text)
    assert found.alone
    assert found.text == UP


@pytest.mark.parametrize(
    "text",
    [
        UP,
        f"-- migrate the pets: upwards\n{UP}",
        f"-- atlas:txmode file\n{UP}",
        f"-- no-transaction is needed here\n{UP}",
        f"-- down migration is not possible\n{UP}",
        "SELECT '-- +goose Down';\n",
    ],
)
def test_what_is_no_mark_stays(text: str) -> None:
    assert way_up(text).text == text
    assert not way_up(text).alone


def test_sections_that_take_turns() -> None:
    text = f"-- +migrate Up\n{UP}-- +migrate Down\n{DOWN}-- +migrate Up\nSELECT 1;\n"
    assert way_up(text).text == f"{UP}SELECT 1;\n"


FUNCTION = "CREATE FUNCTION f() RETURNS int AS $$ SELECT 1; $$ LANGUAGE sql"


@pytest.mark.parametrize(
    ("text", "expected", "semicolon"),
    [
        (f"{FUNCTION};\n", f"{FUNCTION};\n", False),
        (f"{FUNCTION} -- done\n", f"{FUNCTION}; -- done\n", True),
        ("-- nothing\n", "-- nothing\n", False),
    ],
)
def test_a_semicolon_that_the_tool_does_not_need(text: str, expected: str, semicolon: bool) -> None:
    goose = way_up(
        f"-- +goose Up\n-- +goose StatementBegin\n{text}-- +goose StatementEnd\nSELECT 1;\n"
    )
    assert goose.text == f"{expected}SELECT 1;\n"
    drizzle = way_up(f"{text}--> statement-breakpoint\nSELECT 1;\n")
    assert drizzle.text == f"{expected}SELECT 1;\n"
    assert (SEMICOLON in goose.changes) == (SEMICOLON in drizzle.changes) == semicolon


def test_a_breakpoint_behind_a_statement() -> None:
    text = "SELECT 1;--> statement-breakpoint\nSELECT 2; --> statement-breakpoint\nSELECT 3"
    assert way_up(text).text == "SELECT 1;\nSELECT 2;\nSELECT 3"


def test_variables_of_the_environment() -> None:
    assert way_up(f"-- +goose Up\n-- +goose ENVSUB ON\n{UP}").variables
    assert not way_up(f"-- +goose Up\n-- +goose ENVSUB OFF\n{UP}").variables
