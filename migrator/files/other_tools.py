"""Recognises comments that are meant for other migration tools and for linters."""

from __future__ import annotations

FRAME = "-=*# \t"  # characters that can stand around the words of a comment
# Some tools keep the statements that undo a migration in the file of the migration, below one of
# these comments. They are those of dbmate, goose, sql-migrate, micrate, rambler, node-pg-migrate,
# tern and MyBatis.
_WAY_DOWN = frozenset(
    {
        "migrate:down",
        "+goose down",
        "+migrate down",
        "+micrate down",
        "rambler down",
        "down migration",
        "create above / drop below",
        "//@undo",
    }
)
_WAY_DOWN_OPTIONS = ("migrate:down ", "+migrate down ")  # options can follow these comments
# In upper case: each comment of _WAY_DOWN contains one of these, so that a file without them is
# recognised quickly.
WAY_DOWN_WORDS = ("DOWN", "DROP BELOW", "@UNDO")
# Comments for other tools and for linters: those that begin like one of the first list, and those
# that are equal to one of the second list.
_FOR_TOOLS = (
    *("migrate:up", "migrate:down", "+goose ", "+migrate ", "+micrate ", "atlas:"),
    *("squawk-ignore", "sqlfluff:", "noqa", "eugene:", "pgt-ignore", "pgls-ignore"),
)
_FOR_TOOLS_WHOLE = _WAY_DOWN | {"rambler up", "up migration"}


def is_for_tools(comment: str) -> bool:
    """Return whether a comment is meant for another tool or for a linter."""
    plain = comment.lower()
    return plain.startswith(_FOR_TOOLS) or plain in _FOR_TOOLS_WHOLE


def is_way_down(comment: str) -> bool:
    """Return whether the statements below a comment undo the migration."""
    plain = " ".join(comment.strip(FRAME).lower().split())
    return plain in _WAY_DOWN or plain.startswith(_WAY_DOWN_OPTIONS)
