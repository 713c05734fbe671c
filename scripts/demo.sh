#!/usr/bin/env bash
# Builds FingerFlow's schema from migrations/ and shows what came of it. See `make demo`.
#
# Environment:
#   DATABASE_URL  the database to use; without it an embedded PostgreSQL is started, and removed at the end
set -Eeuo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
if [[ -d .venv/bin ]]; then
    PATH=$PWD/.venv/bin:$PATH
fi
# A psql of the machine's own comes first.
PATH=$PATH:$(python3 -c 'from tests.support.postgres import embedded_bin; print(embedded_bin())')

if [[ -z ${DATABASE_URL:-} ]]; then
    echo 'Starting an embedded PostgreSQL; set DATABASE_URL to use a server of yours.'
    exec python3 -m tests.support.postgres -- scripts/demo.sh
fi

announce() {
    printf '\n$ %s\n' "$*"
}

# A password on psql's command line could be read by everyone on the machine. The driver in
# postgresql+driver:// means nothing to libpq.
list_tables() {
    local password dsn
    {
        IFS= read -r password
        IFS= read -r dsn
    } < <(python3 - <<'PYTHON'
import os, re
from psycopg2.extensions import make_dsn, parse_dsn

parts = parse_dsn(re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", os.environ["DATABASE_URL"]))
print(parts.pop("password", os.environ.get("PGPASSWORD", "")))
print(make_dsn(**parts))
PYTHON
    )
    PGPASSWORD=$password psql --no-psqlrc --pset=pager=off --command='\dt' "$dsn"
}

export MIGRATIONS_DIR=migrations

announce migrator
migrator
announce migrator --current
migrator --current
announce "psql -c '\\dt'"
list_tables
