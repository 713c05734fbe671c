"""The driver psycopg2, imported without the module ssl, which it does not need here.

psycopg2 imports ssl so that Python sets the thread callbacks of OpenSSL. OpenSSL 1.1 needs no such
callbacks, and every Python that the migrator runs on has OpenSSL 1.1 or newer (PEP 644). A tenth of
the time of a run with nothing to do would go into the import of ssl.
"""

from migrator.process import lazy

with lazy.without("ssl"):
    import psycopg2
    from psycopg2 import extensions

__all__ = ["extensions", "psycopg2"]
