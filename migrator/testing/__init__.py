"""The migrations in an application's own tests; docs/testing.md shows how to use it.

    from migrator.testing import apply

    outcome = apply("postgresql://app@localhost/app_test", "migrations")

The functions here, what they return and what they raise are the package's public Python interface.
Their log goes to structlog as the application has configured it.
"""

from migrator.apply.outcome import Applied, MigrationFailed
from migrator.apply.state import Outcome
from migrator.failure.failure import Failure
from migrator.process.errors import MigratorError, Problem, ProblemsFound, UsageError
from migrator.testing.database import Database, Template, apply, template

__all__ = [
    "Applied",
    "Database",
    "Failure",
    "MigrationFailed",
    "MigratorError",
    "Outcome",
    "Problem",
    "ProblemsFound",
    "Template",
    "UsageError",
    "apply",
    "template",
]
