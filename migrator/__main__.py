"""`python -m migrator`."""

from migrator.cli import run

run()
