"""Looks for packages in site-packages alone, as CPython does where Debian has not changed it.

Debian's search path is compiled into its interpreter (site is a frozen module), so it is put
right at start.
"""

import site
import sys

# Loaded before this file is; collections.abc would be one more import for every start.
from _collections_abc import Iterable


def getsitepackages(prefixes: Iterable[str] | None = None) -> list[str]:
    """Return the folders for packages below the prefixes, by default those of this interpreter."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return [
        f"{prefix}/lib/{version}/site-packages"
        for prefix in dict.fromkeys(site.PREFIXES if prefixes is None else prefixes)
    ]


site.getsitepackages = getsitepackages
if sys.prefix == sys.base_prefix:
    for folder in getsitepackages():
        site.addsitedir(folder)
