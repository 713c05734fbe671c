"""The driver psycopg2, imported without modules that it asks for and that nothing here needs.

psycopg2 imports ssl so that Python sets the thread callbacks of OpenSSL. OpenSSL 1.1 needs no such
callbacks, and every Python that the migrator runs on has OpenSSL 1.1 or newer (PEP 644). A tenth of
the time of a run with nothing to do would go into the import of ssl. ipaddress is for values of the
type inet, which nothing here reads as such.
"""

from migrator.process import lazy

with lazy.without("ssl", "ipaddress"):
    import psycopg2
    from psycopg2 import errorcodes, extensions

__all__ = ["errorcodes", "extensions", "psycopg2"]
