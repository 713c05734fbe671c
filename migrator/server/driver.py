"""The driver, imported without what it does not need here.

psycopg2 imports ssl to have Python set the thread callbacks of OpenSSL. OpenSSL 1.1, and so every
Python that we run on, needs no such callbacks (PEP 644), and ssl is a tenth of a run with nothing
to do.
"""

from migrator.process import lazy

with lazy.without("ssl"):
    import psycopg2
    from psycopg2 import errorcodes, extensions

__all__ = ["errorcodes", "extensions", "psycopg2"]
