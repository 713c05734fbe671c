#!/usr/bin/env bash
# Drops everything in the deployment's database and builds it again; --help explains.
set -Eeuo pipefail

usage() {
    cat <<'USAGE'
Usage: scripts/reset-database.sh [--yes]

Drops every table with its rows, after YES has been typed, and applies all migrations again:
  1. shows for each table how many rows are lost;
  2. stops the backend;
  3. runs `migrator reset`, which drops everything in one transaction, then applies the migrations;
  4. shows `migrator --current`, starts the backend and waits until it is healthy.
The way back is a backup: scripts/backup-database.sh before, scripts/restore-database.sh after. If the script was
killed, run it again to complete the reset.

  --yes    does not ask

Environment: OVERLAYS, more compose files, as for make; and what the compose files read.

Exit status: 0 done, 1 failed, 2 wrong usage or not confirmed, 130 or 143 interrupted.
USAGE
}

here=$(dirname -- "${BASH_SOURCE[0]}")
# shellcheck source-path=SCRIPTDIR source=deployment.sh
source "$here/deployment.sh"

phase=asking # then resetting, and last starting
before=      # tells the tables apart from those that are made after them

# fingerprint: changes as soon as anything was dropped; the numbers of objects are not used again.
fingerprint() {
    sql "$database" <<'SQL'
WITH schemas AS (
    SELECT oid FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema$)'
),
objects (name) AS (
    SELECT oid::text FROM schemas
    UNION ALL SELECT classid || '/' || objid FROM pg_depend
    WHERE refclassid = 'pg_namespace'::regclass AND refobjid IN (SELECT oid FROM schemas)
)
SELECT 'objects ' || md5(coalesce(string_agg(name, ' ' ORDER BY name), '')) FROM objects;
SQL
}

after_failure() {
    local now
    case $phase in
        asking) say 'State: nothing was changed.' ;;
        resetting)
            end_sessions
            if now=$(fingerprint) && [[ $now == "$before" ]]; then
                say 'State: nothing was dropped.'
                resume_backend
            elif [[ -z $now ]]; then
                say 'State: PostgreSQL does not answer; everything was dropped, or nothing. The backend is stopped.'
                say 'Next:  make sure that PostgreSQL runs (make logs), then run this script again.'
            else
                say 'State: the old tables are gone, and not every migration was applied. The backend is stopped.'
                say 'Next:  correct what the message above names, then make up.'
                say 'Back:  scripts/restore-database.sh with a backup'
            fi
            ;;
        starting)
            say 'State: the database is reset, and every migration is applied, but the backend is not healthy.'
            say 'Next:  see above what is wrong, or make logs; then make up.'
            ;;
    esac
}

# show_loss: counts every row, because an estimate is no warning.
show_loss() {
    local backup
    say "This drops everything in database $database of $project. These rows are lost:"
    sql "$database" <<'SQL'
SELECT coalesce(
    string_agg(format('SELECT lpad(count(*)::text, 12) || %L FROM ONLY %s',
            ' rows  ' || CASE relnamespace::regnamespace::text WHEN 'public' THEN quote_ident(relname)
                ELSE oid::regclass::text END, oid::regclass),
        ' UNION ALL ' ORDER BY oid::regclass::text),
    $$SELECT '  no tables'$$)
FROM pg_class
WHERE relkind IN ('r', 'm') AND relnamespace::regnamespace::text !~ '^(pg_|information_schema)'
\gexec
SQL
    backup=$(find backups -maxdepth 1 -name "$project-*.dump" -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d ' ' -f 2-)
    if [[ -n $backup ]]; then
        say "The newest backup is $backup."
    else
        say 'There is no backup: scripts/backup-database.sh makes one.'
    fi
}

main() {
    while (($#)); do
        case $1 in
            --help) usage && exit ;;
            --yes) yes=1 ;;
            *) usage_error "unknown argument: $1" ;;
        esac
        shift
    done
    open_deployment
    start_postgres
    open_database
    show_loss || die 'The rows cannot be counted; see above.'
    confirm 'There is no way back but a backup.'
    before=$(fingerprint)
    phase=resetting
    stop_backend
    compose run --rm -T migrator reset --confirm "$database" || die 'The reset has failed; see above.'
    phase=starting
    compose run --rm --no-deps -T migrator --current
    start_all || exit 1
    phase=finished
    say "Done: database $database is reset."
}

main "$@"
