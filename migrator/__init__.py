"""Apply plain SQL migrations to PostgreSQL, each exactly once, and exit.

`from migrator import apply` is for an application's tests; `migrator.testing` has the rest of the
Python interface.
"""

from typing import TYPE_CHECKING

from migrator.process.version import __version__

if TYPE_CHECKING:
    from migrator.testing import apply

__all__ = ["__version__", "apply"]


def __getattr__(name: str) -> object:
    """Import what is public when it is used: the command line does without."""
    if name != "apply":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from migrator.testing import apply  # noqa: PLC0415

    return apply
