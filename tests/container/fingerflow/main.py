"""Answers for FingerFlow's backend: its settings, and a request that its schema has no room for."""

import json
import os

import psycopg
from fastapi import FastAPI, HTTPException

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
    try:
        with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
            connection.execute(
                "UPDATE users SET two_factor_backup_codes = %s WHERE email = %s", (codes, email)
            )
    except psycopg.Error as error:
        raise HTTPException(500, str(error)) from None
    return {"length": len(codes)}
