"""The command line is made from the files of `migrator/commands`, and one file adds a command."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import migrator
from migrator import commands
from migrator.cli import arguments, main
from tests.support.github import commands as commands_in

HELLO = '''
"""`migrator hello`: greet somebody."""

from migrator.commands.command import Command, Page
from migrator.process.errors import OK

PAGE = Page(
    """
    Say hello. No database is needed.
    """,
    "said",
    (),
    (("migrator hello Ada", "greet Ada"),),
)


def add_options(parser):
    parser.add_argument("name", metavar="NAME", help="whom to greet")
    parser.add_argument("--loud", action="store_true", help="shout")


def execute(context):
    words = f"Hello, {context.options.name}"
    words = words.upper() if context.options.loud else words
    context.show({"words": words, "folder": str(context.settings.directory)}, words)
    return OK


COMMAND = Command(
    name="hello",
    order=35,
    summary="greet somebody",
    page=PAGE,
    run=execute,
    add_options=add_options,
    has_json=True,
    settings=("--dir",),
)
'''


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


class TestAddingACommand:
    """As CONTRIBUTING.md says: no file in `migrator/` but its own is touched."""

    @pytest.fixture(autouse=True)
    def copy(self, tmp_path: Path) -> Path:
        """A copy of the package with one more file."""
        original = Path(migrator.__file__).parent
        package = tmp_path / "migrator"
        shutil.copytree(original, package, ignore=shutil.ignore_patterns("__pycache__"))
        before = contents(package)
        (package / "commands" / "hello.py").write_text(HELLO)
        after = contents(package)
        assert after.keys() - before.keys() == {"commands/hello.py"}
        assert before.items() <= after.items()
        self.package = package
        return package

    def run(self, *args: str, status: int = 0, level: str = "info") -> str:
        environment = {
            "MIGRATOR_LOG_LEVEL": level,
            "MIGRATOR_LOG_FORMAT": "json",
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(self.package.parent),
            "PYTHONDONTWRITEBYTECODE": "1",
            "COLUMNS": "80",
        }
        done = subprocess.run(
            [sys.executable, "-m", "migrator", *args],
            check=False,
            capture_output=True,
            text=True,
            env=environment,
            cwd=self.package.parent,
        )
        assert done.returncode == status
        assert ("Traceback" in done.stderr) == (level == "debug")
        assert not (status == 0 and done.stderr)
        return done.stdout or done.stderr

    def test_it_is_in_the_help_in_its_place(self) -> None:
        page = self.run("--help")
        assert "\n    hello               greet somebody\n" in page
        listed = re.findall(r"(?m)^    ([a-z]+) ", page)
        assert listed[listed.index("hello") - 1 :][:3] == ["status", "hello", "check"]

    def test_it_has_a_manual_page(self) -> None:
        page = self.run("hello", "--help")
        # The words of a setting are those of its declaration.
        assert re.sub(r"(?s)(?<=--dir FOLDER  ).*?(?=  --json)", "…\n", page) == (
            "usage: migrator hello [-h] [--dir FOLDER] [--json] [--loud] NAME\n"
            "\n"
            "Say hello. No database is needed.\n"
            "\n"
            "positional arguments:\n"
            "  NAME          whom to greet\n"
            "\n"
            "options:\n"
            "  -h, --help    show this help message and exit\n"
            "  --dir FOLDER  …\n"
            "  --json        print the answer as JSON (docs/json.md)\n"
            "  --loud        shout\n"
            "\n"
            "examples:\n"
            "  migrator hello Ada  greet Ada\n"
            "\n"
            "exit status:\n"
            "  0         said\n"
            "  2         usage or settings\n"
            "  130, 143  interrupted by SIGINT or SIGTERM; the message says what was not\n"
            "            applied\n"
            "\n"
            "migrator --help explains the variables.\n"
        )

    def test_it_runs(self) -> None:
        assert self.run("hello", "Ada") == "Hello, Ada\n"
        assert self.run("hello", "Ada", "--loud") == "HELLO, ADA\n"
        answer = json.loads(self.run("--dir", "db", "hello", "Ada", "--json"))
        assert answer == {"words": "Hello, Ada", "folder": "db"}

    def test_it_is_completed(self) -> None:
        fish = self.run("completion", "fish")
        assert "-a hello -d 'greet somebody'\n" in fish
        assert "complete -c migrator -n '__fish_seen_subcommand_from hello' -l loud" in fish
        for shell in ("bash", "zsh"):
            script = self.run("completion", shell)
            assert "|status|hello|check|" in script
            assert "hello) choices='--help --dir --json --loud' ;;" in script

    def test_a_broken_file_is_told_without_a_traceback_and_breaks_no_other_command(self) -> None:
        (self.package / "commands" / "hello.py").write_text("import nowhere\n")
        error = json.loads(self.run("hello", "Ada", status=1))
        assert error["message"] == "unexpected ModuleNotFoundError: No module named 'nowhere'"
        assert self.run("plan", "--help").startswith("usage: migrator plan")

    def test_the_traceback_of_a_mistake_is_shown_for_debugging_and_is_harmless(self) -> None:
        (self.package / "commands" / "hello.py").write_text(
            'raise ValueError("x\\n::error::pwned\\x1b[2J ##[error]pwned")\n'
        )
        shown = self.run("hello", "Ada", status=1, level="debug")
        assert "ValueError: x\n" in shown
        assert "\x1b" not in shown
        assert not commands_in(shown)


class TestTable:
    def test_a_command_has_the_name_of_its_file(self) -> None:
        assert [commands.load(name).name for name in commands.names()] == commands.names()

    def test_every_command_has_a_place_of_its_own(self) -> None:
        orders = [command.order for command in commands.load_all()]
        assert orders == sorted(set(orders))

    def test_every_file_is_a_command_or_shared_by_commands(self) -> None:
        folder = Path(commands.__file__).parent
        files = {path.stem for path in folder.glob("*.py")} - {"__init__"}
        assert files == {*commands.names(), "command", "comparing", "context", "many"}


def test_without_arguments_the_options_are_those_of_the_parser() -> None:
    given = arguments.parse([])
    del given["help"]
    assert given.items() >= main.WITHOUT_ARGUMENTS.items()
    assert all(given[name] is None for name in given.keys() - main.WITHOUT_ARGUMENTS.keys())


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ("--dir a status", {"command": "status", "dir": "a", "json": False}),
        ("status --dir a", {"command": "status", "dir": "a"}),
        ("--dir a status --dir b --json", {"command": "status", "dir": "b", "json": True}),
        ("--dir a --json --current", {"command": "current", "dir": "a", "json": True}),
        ("--dry-run --json", {"command": "plan", "json": True}),
        ("--dry --js", {"command": "plan", "json": True}),
        ("--di a plan --lock-w 5", {"command": "plan", "dir": "a", "lock_wait": "5"}),
        ("--dir plan", {"command": "apply", "dir": "plan", "single_transaction": False}),
        ("--dir status --single-transaction", {"command": "apply", "single_transaction": True}),
        ("--single-transaction apply", {"command": "apply", "single_transaction": True}),
        ("--confirm plan", {"command": "apply", "confirm": "plan"}),
        # The option of the default command is that of another command, too.
        ("reset --conf a", {"command": "reset", "confirm": "a"}),
        ("check --wait", {"command": "check", "wait": ""}),
        ("--wait 5 check", {"command": "check", "wait": "5"}),
        ("--check", {"command": "check", "wait": None}),
        ("new plan", {"command": "new", "description": "plan", "dir": None}),
        ("new add the plan --timestamp", {"description": "add the plan", "timestamp": True}),
        ("verify", {"command": "verify", "version": None, "ignore": None, "json": False}),
        ("adopt --from goose", {"command": "adopt", "tool": "goose", "drop_old": False}),
        # A shortened option counts among those of its command: the program has --dry-run.
        ("validate --d a", {"command": "validate", "dir": "a"}),
    ],
)
def test_options_stand_before_or_behind_the_command(line: str, options: dict[str, object]) -> None:
    parsed = arguments.parse(line.split())
    assert {name: parsed[name] for name in options} == options
