"""Reads languages, transforms and access methods."""

from __future__ import annotations

from migrator.schema.catalog.fragments import rare

LANGUAGES = rare(
    "pg_language",
    """json_build_object(
    'trust', CASE WHEN o.lanpltrusted THEN 'TRUSTED' END,
    'handler', 'HANDLER ' || nullif(o.lanplcallfoid, 0)::regproc,
    'inline', 'INLINE ' || nullif(o.laninline, 0)::regproc,
    'validator', 'VALIDATOR ' || nullif(o.lanvalidator, 0)::regproc)""",
)
TRANSFORMS = rare(
    "pg_transform",
    """json_build_object(
    'from SQL', 'FROM SQL WITH FUNCTION ' || nullif(o.trffromsql, 0)::regprocedure,
    'to SQL', 'TO SQL WITH FUNCTION ' || nullif(o.trftosql, 0)::regprocedure)""",
)
ACCESS_METHODS = rare(
    "pg_am",
    """json_build_object(
    'type', 'TYPE ' || CASE o.amtype WHEN 't' THEN 'TABLE' ELSE 'INDEX' END,
    'handler', 'HANDLER ' || o.amhandler)""",
)
