"""SHA-256, from whichever module of the interpreter is quickest to load.

`hashlib` loads OpenSSL, which is a twentieth of the time of a run that has nothing to do. Python's
own `random` avoids it in the same way. The digests are the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import sha256
else:
    try:
        from _sha2 import sha256  # from Python 3.12 on
    except ImportError:
        try:
            from _sha256 import sha256
        except ImportError:
            from hashlib import sha256

__all__ = ["sha256"]
