#!/bin/sh
# Says why a backend does not start, where its log shows that it has tried to change the schema by itself.
#
# Usage: scripts/explain-backend.sh docker compose [OPTION…]

log=$("$@" logs --no-color --no-log-prefix --tail 100 backend 2>&1)
case $log in
    *'permission denied for schema'* | *'permission denied for database'* | *'must be owner of'*)
        cat <<'TEXT'

The backend has tried to change the schema, which its role may not do: the migrator does that, before the backend is
started. Take the migration out of what the backend runs at its start. For FingerFlow's own image, whose start-prod.sh
migrates, compose.fingerflow.yml gives another command: make up OVERLAYS=compose.fingerflow.yml (docs/fingerflow.md).
TEXT
        ;;
esac
