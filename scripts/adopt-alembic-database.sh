#!/usr/bin/env bash
# Takes a deployment's database over from Alembic or an earlier schema, with its rows; --help explains.
set -Eeuo pipefail

usage() {
    cat <<'USAGE'
Usage: scripts/adopt-alembic-database.sh [--version N] [--allow-differences] [--drop-old] [--yes]

Moves a database that Alembic or an earlier release has built to the migrations of this folder, after YES has been
typed:
  1. writes a backup, as scripts/backup-database.sh does;
  2. runs the repairs of the files up to N, deploy/postgres/repairs/, while the old backend keeps working;
  3. runs `migrator adopt`: compares the schema with what the files up to N describe, and records them as applied if
     there is no difference;
  4. applies the migrations after N, while the old backend keeps working;
  5. starts the new backend, waits until it is healthy, shows `migrator --current`, and compares the schema with all
     files.
Every step may be run again: if the script was killed, run it again to complete the move. docs/moving-from-alembic.md
explains what to do about differences, and the way back.

  --version N          the last file whose changes are all in the database (default 1)
  --allow-differences  records the files although the schema differs: the next migration repairs it
  --drop-old           drops alembic_version, in the transaction that records the files; without it the table stays, for
                       an older backend that still reads it, and a second run with --drop-old drops it
  --yes                does not ask

Environment: OVERLAYS, more compose files, as for make; and what the compose files read.

Exit status: 0 done, 1 failed, 2 wrong usage or not confirmed, 130 or 143 interrupted.
USAGE
}

here=$(dirname -- "${BASH_SOURCE[0]}")
# shellcheck source-path=SCRIPTDIR source=deployment.sh
source "$here/deployment.sh"

version=1
options=()
phase=checking # then repairing, adopting, migrating, starting, showing, and last verifying
backup=
repaired=0 # whether a repair was run to its end
before=    # what the database says of its history when this begins

after_failure() {
    local now
    [[ -z $scratch ]] || drop_scratch || say "$scratch is still there; this script drops it when it runs again."
    case $phase in
        checking) say 'State: nothing was changed in the database.' ;;
        repairing)
            say 'State: nothing was recorded. The repair of the schema may be done in part; the backend was not stopped,' \
                'and works with that.'
            say 'Next:  correct what the message above names, then run this script again.'
            ;;
        adopting)
            if ! now=$(recorded); then
                say 'State: PostgreSQL does not answer. The database was adopted as a whole, or not changed.'
            elif [[ $now != "$before" ]]; then
                say 'State: the database was adopted; migrations may be pending. The backend was not stopped.'
            elif ((repaired)); then
                say 'State: nothing was recorded. The repair of the schema is done; the backend was not stopped, and works' \
                    'with that.'
            else
                say 'State: nothing was recorded; the database was not changed. The backend was not stopped.'
            fi
            say 'Next:  see the message above, then run this script again.'
            ;;
        migrating)
            say 'State: the database is adopted, but not every migration is applied. The backend was not stopped.'
            say 'Next:  correct what the message above names, make build, then run this script again.'
            ;;
        starting)
            say 'State: every migration is applied, but the backend is not healthy.'
            say 'Next:  see above what is wrong, or make logs; then make up.'
            ;;
        showing) say 'State: the database is moved, and the backend is healthy.' ;;
        verifying)
            say 'State: every migration is applied, and the backend is healthy. The schema is not what the files describe.'
            say 'Next:  see the differences above; docs/moving-from-alembic.md says what to do about them.'
            ;;
    esac
    [[ -z $backup || $phase == checking ]] ||
        say "Back:  set the images to the previous release, then scripts/restore-database.sh --no-start $backup"
}

# recorded: prints which rows the history has, and whether Alembic's table is there. It calls no type's own code.
recorded() {
    sql "$database" <<'SQL'
SELECT EXISTS (SELECT FROM pg_class WHERE oid = to_regclass('public.schema_migrations') AND relkind = 'r') AS has_history
\gset
SELECT 'alembic_version ' || (to_regclass('public.alembic_version') IS NOT NULL);
\if :has_history
SELECT ctid, xmin FROM public.schema_migrations ORDER BY ctid;
\endif
SQL
}

# in_scratch ARGUMENT…: runs the migrator with a scratch database to build the files in.
in_scratch() {
    local url status=0
    create_scratch _adopt_scratch || die 'The scratch database cannot be created; see above.'
    url=$(url_of "$scratch") || die 'The owner of the scratch database cannot be found out; see above.'
    compose run --rm --no-deps -T --env "MIGRATOR_SCRATCH_URL=$url" migrator "$@" || status=$?
    drop_scratch || die "$scratch cannot be dropped; see above."
    scratch=
    return "$status"
}

# run_repair FILE: as the owner of the database. It is re-runnable, so a lock that was not to be had is tried for again.
run_repair() {
    local owner problem attempt
    owner=$(owner_of "$database") || die 'PostgreSQL does not answer; see above.'
    for attempt in {1..20}; do
        problem=$(sql "$database" --username "$owner" <"$1" 2>&1) && return
        # lock_not_available and deadlock_detected
        [[ $problem =~ ERROR:\ +(55P03|40P01) ]] || break
        sleep 1
    done
    complain "$problem"
    die "$1 failed, in attempt $attempt; see above."
}

# repair: runs the repair of each migration up to the version that has one.
repair() {
    local file number
    for file in deploy/postgres/repairs/*.sql; do
        number=${file##*/}
        if [[ -e migrations/${file##*/} ]] && ((10#${number%%_*} <= 10#$version)); then
            say "Repairing what differs from migrations/${file##*/}."
            run_repair "$file"
            repaired=1
        fi
    done
}

main() {
    while (($#)); do
        case $1 in
            --help) usage && exit ;;
            --yes) yes=1 ;;
            --allow-differences | --drop-old) options+=("$1") ;;
            --version)
                [[ ${2:-} =~ ^[0-9]{1,18}$ ]] || usage_error '--version needs a number'
                version=$2
                shift
                ;;
            *) usage_error "unknown argument: $1" ;;
        esac
        shift
    done
    open_deployment
    start_postgres
    open_database
    require_room _adopt_scratch
    before=$(recorded) || die 'PostgreSQL does not answer; see above.'
    if [[ $(is_new) == t ]]; then
        complain "Database $database of $project is new and empty: there is nothing to adopt."
        say_where_others_are >&2
        exit 1
    fi
    confirm "This moves database $database of $project to the migrations here, from version $version on."
    backup=backups/$project-$STAMP.dump
    dump "$backup"
    compose run --rm --no-deps -T roles || die 'The roles cannot be set up; see above.'
    phase=repairing
    repair
    phase=adopting
    in_scratch adopt --from alembic --version "$version" --yes "${options[@]}" ||
        die 'The database was not adopted; see above.'
    phase=migrating
    compose run --rm --no-deps -T migrator || die 'The migrations after the adopted ones cannot be applied; see above.'
    phase=starting
    start_all || exit 1
    phase=showing
    compose run --rm --no-deps -T migrator --current
    phase=verifying
    in_scratch verify || die 'The schema differs from what the files describe; see above.'
    say "Done: database $database is moved. The backup from before the move is $backup."
}

main "$@"
