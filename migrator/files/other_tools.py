"""Comments that other migration tools and linters read."""

from __future__ import annotations

FRAME = "-=*# \t"  # what may stand around the words of a comment
# What stands above the statements that undo a migration where a tool keeps them in its file. These
# are dbmate, goose, sql-migrate, micrate, rambler, node-pg-migrate, tern and MyBatis.
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
_WAY_DOWN_OPTIONS = ("migrate:down ", "+migrate down ")  # options may follow
WAY_DOWN_WORDS = ("DOWN", "DROP BELOW", "@UNDO")  # each of these comments has one
# How the comments begin that another tool or a linter reads, and what some of them are as a whole.
_FOR_TOOLS = (
    *("migrate:up", "migrate:down", "+goose ", "+migrate ", "+micrate ", "atlas:"),
    *("squawk-ignore", "sqlfluff:", "noqa", "eugene:", "pgt-ignore", "pgls-ignore"),
)
_FOR_TOOLS_WHOLE = _WAY_DOWN | {"rambler up", "up migration"}


def is_for_tools(comment: str) -> bool:
    """Tell whether another tool or a linter reads a comment."""
    plain = comment.lower()
    return plain.startswith(_FOR_TOOLS) or plain in _FOR_TOOLS_WHOLE


def is_way_down(comment: str) -> bool:
    """Tell whether a comment begins the statements that undo a migration."""
    plain = " ".join(comment.strip(FRAME).lower().split())
    return plain in _WAY_DOWN or plain.startswith(_WAY_DOWN_OPTIONS)
