"""The least that a Python program with migrator's libraries can do: connect and select a row."""

import argparse  # noqa: F401
import hashlib  # noqa: F401
import json  # noqa: F401
import os

import psycopg2
import structlog  # noqa: F401

connection = psycopg2.connect(os.environ["DATABASE_URL"])
cursor = connection.cursor()
cursor.execute("SELECT 1")
cursor.fetchall()
connection.close()
