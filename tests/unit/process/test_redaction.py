"""A password is hidden in each spelling, and our own words are left alone."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrator.process.redaction import Redactor

RANDOM = "p@:/%#? w'\"\\é語-Zq93Kx"


def knowing(*secrets: str, is_name: bool = False) -> Redactor:
    redactor = Redactor()
    for secret in secrets:
        redactor.hide(secret, is_name=is_name)
    return redactor


def percent_encoded(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode())


class TestRandom:
    @pytest.mark.parametrize(
        "spelling",
        [
            RANDOM,
            quote(RANDOM, safe=""),
            quote(RANDOM),
            quote(RANDOM, safe="").lower().replace("zq93kx", "Zq93Kx"),
            percent_encoded(RANDOM),
            percent_encoded(RANDOM).upper(),
            RANDOM.replace("'", "''"),
            RANDOM.replace("\\", "\\\\").replace("'", "''"),
            RANDOM.replace("\\", "\\\\").replace("'", "\\'"),
            json.dumps(RANDOM)[1:-1],
            json.dumps(RANDOM, ensure_ascii=False)[1:-1],
            RANDOM.replace(" ", "\n  "),
            RANDOM.replace(" ", "+"),
        ],
        ids=[
            "plain",
            "URL",
            "parts of a URL",
            "small hexadecimal digits",
            "each byte",
            "capital hexadecimal digits",
            "SQL",
            "E''",
            "E'' with backslashes",
            "JSON",
            "JSON without escapes",
            "wrapped",
            "form",
        ],
    )
    def test_is_hidden_in_each_spelling_also_inside_of_a_word(self, spelling: str) -> None:
        redactor = knowing(RANDOM)
        for clean in (redactor.ours, redactor.definition, redactor.of_others):
            assert clean(f"abc{spelling}def") == "abc[password]def"

    @pytest.mark.parametrize(
        "secret",
        [
            "qWkJeHqKwJeH",
            "a3f9c27be81d",
            "hunter2!",
            "correct horse battery staple",
            "550e8400-e29b-41d4-a716-446655440000",
        ],
    )
    def test_is_what_does_not_consist_of_words_or_is_long(self, secret: str) -> None:
        assert knowing(secret).ours(f"x{secret}y") == "x[password]y"

    @pytest.mark.parametrize("ending", ["", "...", "…"])
    def test_is_hidden_where_the_server_has_cut_it(self, ending: str) -> None:
        redactor = knowing("a3f9c27be81d")
        assert redactor.of_others(f"it is a3f9c27b{ending}") == f"it is [password]{ending}"

    @settings(deadline=None)
    @given(st.text("aZ9%'\"\\ \t@é", min_size=24, max_size=30), st.text("a'%\\ "))
    def test_is_never_left(self, secret: str, around: str) -> None:
        redactor = knowing(secret)
        for text in (secret, secret.replace("'", "''"), quote(secret, safe="")):
            if secret.strip():
                shown = redactor.ours(f"{around}<{text}>{around}")
                assert text.strip() not in shown

    def test_that_are_several_do_not_leave_the_end_of_a_longer_one(self) -> None:
        redactor = knowing("a3f9c27b", "a3f9c27be81d", "x9#x9#x9")
        assert redactor.ours("(a3f9c27be81d, x9#x9#x9)") == "([password], [password])"

    def test_that_is_a_long_token_is_hidden_in_the_usual_spellings(self) -> None:
        token = "aX9/+é" * 300
        redactor = knowing(token)
        for spelling in (token, quote(token, safe=""), json.dumps(token)[1:-1]):
            assert redactor.ours(f"<{spelling}>") == "<[password]>"

    def test_that_is_long_is_not_told_by_the_end_of_a_sentence(self) -> None:
        text = "the answer is correct"
        assert knowing("correct horse battery staple").of_others(text) == text
        cut = "the answer is correct horse batte"
        assert knowing("correct horse battery staple").of_others(cut) == (
            "the answer is [password]"
        )


class TestWord:
    @pytest.mark.parametrize(
        "secret", ["users", "a", "postgres", "not", "Add users", "utf8", "20240101"]
    )
    def test_leaves_names_and_our_sentences_alone(self, secret: str) -> None:
        text = f"001_add_{secret}.sql was not started: {secret}; '{secret}' of \"{secret}\""
        assert knowing(secret).ours(text) == text

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("postgresql://me:users@host/users", "postgresql://me:[password]@host/users"),
            ("postgresql://me:%75sers@host", "postgresql://me:[password]@host"),
            ("host=x password=users dbname=users", "host=x password=[password] dbname=users"),
            ("password = 'users' user=users", "password = '[password]' user=users"),
            ("ALTER ROLE users PASSWORD 'users'", "ALTER ROLE users PASSWORD '[password]'"),
            ('{"password": "users"}', '{"password": "[password]"}'),
        ],
    )
    def test_is_hidden_where_only_a_password_can_stand(self, text: str, shown: str) -> None:
        assert knowing("users").ours(text) == shown
        assert knowing("users", is_name=True).of_others(text) == shown

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("SELECT 'users', users_id, all_users", "SELECT '[password]', users_id, all_users"),
            ("Key (name)=(users) exists", "Key (name)=([password]) exists"),
            ("users", "[password]"),
            ("superusers of 001_users.sql", "superusers of 001_users.sql"),
        ],
    )
    def test_is_hidden_in_the_words_of_others_as_a_word(self, text: str, shown: str) -> None:
        assert knowing("users").of_others(text) == shown

    def test_is_hidden_in_a_definition_in_quotes_only(self) -> None:
        sql = "CREATE TABLE users (a text DEFAULT 'users')"
        assert knowing("users").definition(sql) == sql.replace("'users'", "'[password]'")

    def test_of_a_few_characters_is_not_told_by_the_gaps(self) -> None:
        redactor = knowing("a")
        assert redactor.of_others("there is a problem with 'a'") == (
            "there is a problem with '[password]'"
        )

    def test_that_is_a_name_leaves_the_name_alone(self) -> None:
        text = "role \"postgres\" does not exist; 'postgres'"
        assert knowing("postgres", is_name=True).of_others(text) == text


class TestPlace:
    @pytest.mark.parametrize(
        ("offset", "moved"), [(0, 0), (3, 3), (5, 3), (15, 13), (16, 14), (17, 14)]
    )
    def test_of_a_character_moves_with_the_text(self, offset: int, moved: int) -> None:
        redactor = knowing("a3f9c27be81d")
        assert redactor.of_others_at("x, a3f9c27be81d;", offset) == ("x, [password];", moved)


@pytest.mark.parametrize("nothing", ["", " ", "\n"])
def test_a_password_of_nothing_hides_nothing(nothing: str) -> None:
    assert knowing(nothing).of_others("as it is") == "as it is"
