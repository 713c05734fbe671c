"""Answers for FingerFlow's backend: its settings, and the request that its schema had no room for."""

import json
import os

import psycopg
from fastapi import FastAPI

app = FastAPI()


@app.get("/health")
def health() -> dict[str, str]:
    """Answer as FingerFlow does."""
    return {"status": "healthy", "database": "connected", "logging": "configured"}


@app.get("/api/settings")
def settings() -> dict[str, str]:
    """Return the environment."""
    return dict(os.environ)


@app.post("/api/2fa/setup")
def set_up_two_factor(email: str) -> dict[str, int]:
    """Store ten hashes of bcrypt, each of 60 characters, as FingerFlow does."""
    codes = json.dumps([f"$2b$12${n:053}" for n in range(10)])
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        connection.execute(
            "UPDATE users SET two_factor_backup_codes = %s WHERE email = %s", (codes, email)
        )
    return {"length": len(codes)}
