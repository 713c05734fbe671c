"""What is told of an error, to a person and to GitHub Actions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath

import pytest

from migrator.apply.outcome import Applied, MigrationFailed
from migrator.apply.state import Outcome
from migrator.failure.failure import Failure
from migrator.process.errors import MigratorError, Problem, ProblemsFound, UsageError
from migrator.report import failures, github
from migrator.watch.impact import Impact
from tests.support.github import commands


class TestErrors:
    PROBLEMS = (
        Problem("001_a.sql", "is bad", "Do this.", 12, 5, ("12 | SELECT 'x;", "   |        ^")),
        Problem("version 2", "is gone"),
    )

    def test_a_command_is_told_in_one_line(self) -> None:
        command = "`migrator --confirm shop`"
        hint = f"{'word ' * 16}{command}, and {'word ' * 16}"
        told = failures.problems([Problem("database shop", "is not ours", hint)])
        assert any(command in line for line in told.splitlines())
        assert len(told.splitlines()) == 4

    def test_problems_are_told_as_a_compiler_does(self) -> None:
        text = (
            "001_a.sql:12:5: is bad\n"
            "  12 | SELECT 'x;\n"
            "     |        ^\n"
            "    Do this.\n"
            "version 2: is gone"
        )
        assert failures.problems(self.PROBLEMS) == text
        assert failures.error(ProblemsFound(self.PROBLEMS)) == (
            f"{text}\n\nerror: 2 problems with the migrations; nothing was changed"
        )

    def test_one_problem_is_not_some_problems(self) -> None:
        found = ProblemsFound(self.PROBLEMS[:1], "the database is at version 3")
        assert failures.error(found).endswith(
            "\n\nerror: 1 problem with the migrations; the database is at version 3"
        )

    @pytest.mark.parametrize(
        ("error", "text"),
        [
            (UsageError("no database is given", "Set DATABASE_URL."), "\nSet DATABASE_URL."),
            (UsageError("no database is given"), ""),
        ],
    )
    def test_others_have_a_hint_below(self, error: UsageError, text: str) -> None:
        assert failures.error(error) == f"error: no database is given{text}"


class TestFailure:
    FAILURE = Failure(
        file="002_b.sql",
        version=2,
        line=3,
        column=8,
        source=("2 | ", "3 | SELECT nope", "  |        ^"),
        statement=2,
        statements=4,
        statement_line=3,
        message='column "nope" does not exist',
        advice="Check its spelling.",
        state="002_b.sql was rolled back; this run has applied 001_a.sql",
        sqlstate="42703",
        condition="undefined_column",
        server_hint="Perhaps you meant to reference the column.",
        elapsed_ms=12,
        current=1,
        pending=3,
    )

    def test_reads_like_a_compiler_s(self) -> None:
        assert failures.error(MigrationFailed(self.FAILURE)) == (
            '002_b.sql:3:8: error: column "nope" does not exist (42703 undefined_column)\n'
            "  2 | \n"
            "  3 | SELECT nope\n"
            "    |        ^\n"
            "\n"
            "  hint:    Perhaps you meant to reference the column.\n"
            "  where:   statement 2 of 4; failed after 12 ms\n"
            "  state:   002_b.sql was rolled back; this run has applied 001_a.sql\n"
            "  now:     the database is at version 1, 3 migrations are pending\n"
            "  next:    Check its spelling."
        )

    def test_leaves_out_what_is_not_known(self) -> None:
        failed = replace(
            self.FAILURE,
            statement=None,
            detail="one\ntwo",
            sqlstate="",
            server_hint="",
            elapsed_ms=None,
            current=None,
            source=(),
        )
        assert failures.failure(failed) == (
            '002_b.sql:3:8: error: column "nope" does not exist\n'
            "\n"
            "  detail:  one\n"
            "           two\n"
            "  where:   at the end of the file, after statement 4\n"
            "  state:   002_b.sql was rolled back; this run has applied 001_a.sql\n"
            "  next:    Check its spelling."
        )


class TestWorkflowCommands:
    """GitHub documentation, "Workflow commands for GitHub Actions"."""

    FOLDER = PurePosixPath("db/migrations")

    def test_name_the_file_in_the_repository(self) -> None:
        [line] = github.workflow_commands(MigrationFailed(TestFailure.FAILURE), self.FOLDER)
        assert line.startswith(
            "::error file=db/migrations/002_b.sql,line=3,col=8::column "
            '"nope" does not exist (42703 undefined_column)%0A'
        )
        assert "\n" not in line

    def test_are_one_for_each_problem(self) -> None:
        found = ProblemsFound(TestErrors.PROBLEMS)
        assert github.workflow_commands(found, self.FOLDER) == [
            "::error file=db/migrations/001_a.sql,line=12,col=5::is bad%0ADo this.",
            "::error::version 2 is gone",
        ]

    def test_escape_what_would_end_them(self) -> None:
        error = UsageError("100%\r\n::warning::x", "a,b:c")
        assert github.workflow_commands(error, self.FOLDER) == [
            "::error::100%25%0A<U+003A>:warning::x%0Aa,b:c"
        ]
        found = ProblemsFound([Problem("00,1:x%.sql", "is bad")])
        assert github.workflow_commands(found, PurePosixPath()) == [
            "::error file=00%2C1%3Ax%25.sql::00,1:x%25.sql is bad"
        ]

    def test_have_nothing_of_others_that_is_not_text(self) -> None:
        failed = replace(TestFailure.FAILURE, detail="Key=(\x1b[2J\n::error::x ##[error]x)")
        [line] = github.workflow_commands(MigrationFailed(failed), self.FOLDER)
        assert "%0AKey=(<U+001B>[2J%0A<U+003A>:error::x #<U+0023>[error]x)%0A" in line
        found = ProblemsFound([Problem("001_\x1b[2J.sql", "is bad")])
        [line] = github.workflow_commands(found, self.FOLDER)
        assert line.startswith("::error file=db/migrations/001_<U+001B>[2J.sql::")


class TestWordsOfOthers:
    ATTACK = "x\n ::error::x\r::error::x ##[error]x\x1b[2J"

    def test_are_harmless_in_a_failure(self) -> None:
        text = failures.failure(replace(TestFailure.FAILURE, detail=self.ATTACK))
        assert "\n  detail:  x\n            <U+003A>:error::x<U+000D>::error::x " in text
        assert "#<U+0023>[error]x<U+001B>[2J\n" in text

    @pytest.mark.parametrize(
        "error",
        [
            UsageError(ATTACK, ATTACK),
            ProblemsFound([Problem(ATTACK, ATTACK, ATTACK, 1, 1, (ATTACK,))], ATTACK),
            MigrationFailed(
                replace(
                    TestFailure.FAILURE,
                    file=ATTACK,
                    message=ATTACK,
                    source=(ATTACK,),
                    detail=ATTACK,
                    server_hint=ATTACK,
                    context=ATTACK,
                    state=ATTACK,
                    advice=ATTACK,
                )
            ),
        ],
    )
    def test_are_harmless_in_every_field(self, error: MigratorError) -> None:
        text = failures.error(error)
        assert not commands(text)
        assert text.replace("\n", "").isprintable()
        for line in github.workflow_commands(error, PurePosixPath("db")):
            [(name, _)] = commands(line)
            assert name == "error"
            assert line.isprintable()
        assert github.summary(error).replace("\n", "").isprintable()

    def test_are_only_text_in_the_table_of_the_summary(self) -> None:
        done = Applied(
            version=1,
            file="001_`|.sql",
            description="<img src=x> [a](https://evil) @team &lt; www.evil",
            duration_ms=1,
            impact=Impact((), ()),
        )
        row = github.summary(Outcome((done,), 1)).splitlines()[-1]
        assert row == (
            r"| 1 | 001\_\`\|.sql | \<img src=x\> \[a\](https\://evil) \@team \&lt; www\.evil "
            "| 1 ms |  |"
        )
