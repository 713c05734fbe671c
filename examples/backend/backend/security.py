"""Passwords at rest, and the tokens that stand for a user who has logged in."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import time

TOKEN_SECONDS = 12 * 3600
_COST = {"n": 2**14, "r": 8, "p": 1}  # 16 MiB and some 50 ms for each password


def hash_password(password: str) -> str:
    """Hash a password with a salt of its own, for the column `hashed_password`."""
    salt = os.urandom(16)
    digest = hashlib.scrypt(password.encode(), salt=salt, **_COST)
    return f"scrypt${salt.hex()}${digest.hex()}"


# Checked for an unknown user, so that the time of an answer does not tell who is registered.
NOBODY = hash_password("")


def is_password(password: str, hashed: str) -> bool:
    """Tell whether a password is the one that was hashed."""
    _, salt, digest = hashed.split("$")
    candidate = hashlib.scrypt(password.encode(), salt=bytes.fromhex(salt), **_COST)
    return hmac.compare_digest(candidate.hex(), digest)


def issue_token(user_id: int, key: str) -> str:
    """Return a token for a user, valid for `TOKEN_SECONDS`, signed with a key."""
    claim = f"{user_id}.{int(time.time()) + TOKEN_SECONDS}"
    return f"{claim}.{_sign(claim, key)}"


def token_user(token: str, key: str) -> int | None:
    """Return the user that a token stands for; None when it is forged, garbled or too old."""
    claim, _, signature = token.rpartition(".")
    try:
        if not hmac.compare_digest(signature.encode(), _sign(claim, key).encode()):
            return None
        user_id, expires = claim.split(".")
        return int(user_id) if int(expires) > time.time() else None
    except (ValueError, binascii.Error):
        return None


def _sign(claim: str, key: str) -> str:
    digest = hmac.digest(key.encode(), claim.encode(), "sha256")
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
