"""Words of others are harmless: no escape reaches a terminal, and no command GitHub's runner."""

from __future__ import annotations

import io
import json
import re
import sys

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from migrator.process.log import configure_log, say
from migrator.process.settings import LogSettings
from migrator.process.terminal import json_text, lines, visible, without_commands

# What is in it is between blanks, as ReadLine and TrimStart of .NET see them.
COMMAND = re.compile(r"(?:^|[\r\n])\s*::|##\[")
ATTACKS = (
    "::error::x",
    " \t::error file=a::x",
    "\x0b\x85\u3000::error::x",
    "a\n  ::add-mask::x",
    "a\r::error::x",
    "a\r\n::error::x",
    "a\u2028::error::x",
    "x##[error]x",
    "x###[command]x",
    "\n\n::stop-commands::x",
    ":::error::x",
)
TEXTS = st.text(st.sampled_from(" :#[\n\r\t\x1ba\x85\u200b"), max_size=12)


@pytest.mark.parametrize("text", ATTACKS)
def test_no_line_is_a_command(text: str) -> None:
    assert not COMMAND.search(visible(text))
    assert not COMMAND.search(lines(text))
    assert not COMMAND.search(without_commands(text))


@given(TEXTS)
def test_nothing_is_a_command_or_an_escape_or_changes_again(text: str) -> None:
    for clean in (visible, lines):
        once = clean(text)
        assert not COMMAND.search(once)
        assert all(character.isprintable() or character == "\n" for character in once)
        assert clean(once) == once
    assert not COMMAND.search(without_commands(text))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\n\tb\r\nc", "a\n    b\nc"),
        ("a\x1b[2Jb\u202e", "a<U+001B>[2Jb<U+202E>"),
        ("a\rb", "a<U+000D>b"),
        ("::error::x", "<U+003A>:error::x"),
        ("##[error]x", "#<U+0023>[error]x"),
        ("##vso[task.setvariable]x", "#<U+0023>vso[task.setvariable]x"),
        ("a::int, a ## b", "a::int, a ## b"),
        ("größe 語", "größe 語"),
    ],
)
def test_lines_stay_and_the_rest_is_shown(text: str, shown: str) -> None:
    assert lines(text) == shown


@given(st.text(st.sampled_from('#[]"\\a\x7f\x9b\u200b\u2028\U000e0001\ud800é'), max_size=12))
def test_json_keeps_its_value(text: str) -> None:
    written = json_text(json.dumps({"text": text}, ensure_ascii=False))
    assert json.loads(written) == {"text": text}
    assert "##[" not in written
    assert written.isprintable()


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("text", ATTACKS)
def test_no_line_of_the_log_is_a_command(
    capsys: pytest.CaptureFixture[str], form: str, text: str
) -> None:
    configure_log(LogSettings(form, "info"))
    structlog.get_logger().info("server notice", message=text, reason="\x1b[2J" + text)
    structlog.reset_defaults()
    line = capsys.readouterr().err
    assert not COMMAND.search(line)
    assert line.count("\n") == 1
    assert line.strip("\n").replace("\u3000", " ").isprintable()
    if form == "json":
        assert json.loads(line)["message"] == text


def test_no_line_that_is_said_is_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    say("error: x\n  ::error::x\n")
    assert stderr.getvalue() == "error: x\n  <U+003A>:error::x\n"
