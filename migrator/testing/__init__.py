"""The migrations in an application's own tests; docs/testing.md shows how to use it.

    from migrator.testing import apply

    outcome = apply("postgresql://app@localhost/app_test", "migrations")

The functions here, what they return and what they raise are the package's public Python interface.
They log to structlog if the application has configured structlog, otherwise to the logger
`migrator` of the standard library; without a configuration of either, nothing is written.
"""

import sys

from migrator.apply.outcome import Applied, MigrationFailed
from migrator.apply.state import Outcome
from migrator.failure.failure import Failure
from migrator.process.errors import MigratorError, Problem, ProblemsFound, UsageError
from migrator.testing.database import Database, Template, apply, template
from migrator.testing.rolled_back import RolledBackConnection

__all__ = [
    "Applied",
    "Database",
    "Failure",
    "MigrationFailed",
    "MigratorError",
    "Outcome",
    "Problem",
    "ProblemsFound",
    "RolledBackConnection",
    "Template",
    "UsageError",
    "apply",
    "template",
]

# The package `migrator.apply` has the same name, and importing it has hidden the function.
sys.modules["migrator"].apply = apply  # type: ignore[attr-defined]
