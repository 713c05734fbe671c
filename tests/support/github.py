"""GitHub's runner: which lines of a program's output it obeys."""

from __future__ import annotations

import re

# The commands that it knows (its sources, ActionCommandManager.cs and its extensions).
_KNOWN = frozenset(
    [
        "add-mask",
        "add-matcher",
        "add-path",
        "debug",
        "echo",
        "endgroup",
        "error",
        "group",
        "internal-set-repo-path",
        "notice",
        "remove-matcher",
        "save-state",
        "set-env",
        "set-output",
        "stop-commands",
        "warning",
    ]
)


def commands(output: str) -> list[tuple[str, str]]:
    """Return the commands in an output, each with its name and its data.

    Args:
        output: of stdout or of stderr; the runner reads both (its sources, ActionCommand.cs).
    """
    found = []
    for line in re.split(r"\r\n|\r|\n", output):  # as StreamReader.ReadLine
        new = re.match(r"\s*::([^ :]*)[^:]*(?::[^:]+)*::(.*)", line)
        old = re.search(r"##\[([^\] ]*)[^\]]*\](.*)", line)
        found += [(match[1], match[2]) for match in (new, old) if match and match[1] in _KNOWN]
    return found
