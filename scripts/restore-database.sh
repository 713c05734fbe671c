#!/usr/bin/env bash
# Puts a backup in the place of the deployment's database; --help explains.
set -Eeuo pipefail

usage() {
    cat <<'USAGE'
Usage: scripts/restore-database.sh [--yes] [--no-safety-backup] [--no-start] FILE
       scripts/restore-database.sh [--yes] [--no-start] --undo

Puts a backup in the place of the database:
  1. reads FILE to its end and, after YES has been typed, restores it into a fresh database next to the old one,
     gives the roles their rights, and applies the migrations that are pending there. What is in FILE runs as the
     superuser: whoever could change FILE can do everything on the server;
  2. stops the backend, and backs the old database up (backups/PROJECT-before-restore-TIME.dump);
  3. swaps the two by renaming them in one transaction; the old one is kept as DATABASE_before_TIME;
  4. starts the backend and waits until it is healthy.
The backend works until step 2. If a step before 3 fails, the old database stays unchanged in its place, and the
backend runs again. If the script was killed at any point, run it again to complete the restore.

  --undo              swaps the newest kept database in again; the database that it replaces is kept too, so that a
                      second --undo swaps that one in again
  --yes               does not ask
  --no-safety-backup  makes no backup of the old database, if that is too damaged; the old database is kept anyway
  --no-start          neither applies migrations nor starts the backend: for a backup without schema_migrations, made
                      before the database was adopted, or to look at the data first

The server's disk needs room for both databases, and this machine's disk for the safety backup. At the end, the script
says how to drop the databases that were kept.

Environment: OVERLAYS, more compose files, as for make; and what the compose files read.

Exit status: 0 done, 1 failed, 2 wrong usage or not confirmed, 130 or 143 interrupted.
USAGE
}

here=$(dirname -- "${BASH_SOURCE[0]}")
# shellcheck source-path=SCRIPTDIR source=deployment.sh
source "$here/deployment.sh"

file=
undo=0
start=1
safety_backup=1
phase=checking # then preparing, starting, and last finished
fresh=         # the database that is to be swapped in
kept=          # what the old one is called afterwards; empty when there is none

after_failure() {
    local swapped
    case $phase in
        checking)
            say 'State: nothing was changed.'
            return
            ;;
        preparing)
            if ! swapped=$(sql template1 --set name="${kept:-$database}" \
                <<<"SELECT count(*) FROM pg_database WHERE datname = :'name';"); then
                say 'State: PostgreSQL does not answer. Its databases are unchanged, or swapped as a whole.'
                say 'Next:  make sure that it runs (make logs), then run this script again.'
                return
            elif ((!swapped)); then
                say "State: nothing was restored. Database $database was not changed."
                ((undo)) || drop_database "$fresh" || say "$fresh is still there; this script drops it when it runs again."
                resume_backend
                return
            fi
            ;;
        finished)
            say "State: database $database now has the content of ${file:-$fresh}."
            return
            ;;
    esac
    say "State: database $database now has the content of ${file:-$fresh}, but the backend is not healthy."
    say 'Next:  correct what the messages above name, then make up.'
    [[ -z $kept ]] || say 'Back:  scripts/restore-database.sh --undo'
}

drop_database() {
    sql template1 --set name="$1" <<<'DROP DATABASE IF EXISTS :"name" WITH (FORCE);'
}

# drop_leftovers: the fresh databases of runs that were killed.
drop_leftovers() {
    sql template1 --set database="$database" <<'SQL'
SELECT format('DROP DATABASE %I WITH (FORCE)', datname) FROM pg_database
WHERE starts_with(datname, :'database' || '_restoring_')
    AND substr(datname, length(:'database' || '_restoring_') + 1) ~ '^\d{8}T\d{6}Z$'
\gexec
SQL
}

# list_kept: prints the sizes and the names of the databases that were replaced, the latest first.
list_kept() {
    sql template1 --set database="$database" <<'SQL'
SELECT pg_size_pretty(pg_database_size(oid)), datname FROM pg_database
WHERE starts_with(datname, :'database' || '_before_')
    AND substr(datname, length(:'database' || '_before_') + 1) ~ '^\d{8}T\d{6}Z$'
ORDER BY datname DESC;
SQL
}

# create_fresh: makes an empty database like the old one, or like the cluster's others when there is none.
create_fresh() {
    sql template1 --set old="$database" --set new="$fresh" <<'SQL'
SELECT format('CREATE DATABASE %I TEMPLATE template0 ', :'new') || coalesce(
    (SELECT format('ENCODING %L LC_COLLATE %L LC_CTYPE %L', pg_encoding_to_char(encoding), datcollate, datctype)
     FROM pg_database WHERE datname = :'old'), '')
\gexec
SQL
}

# copy_settings: what GRANT, ALTER DATABASE … SET and ALTER ROLE … IN DATABASE … SET have said about the old database
# itself, none of which pg_restore brings without --create. The settings named here hold lists of names. Any role may
# set one for itself, and to what it likes: each name of the list becomes a string, so that none of it is SQL.
copy_settings() {
    sql template1 --set old="$database" --set new="$fresh" <<'SQL'
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', :'new') FROM pg_database WHERE datname = :'old'
UNION ALL
SELECT format('GRANT %s ON DATABASE %I TO %s%s', a.privilege_type, :'new',
    CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE format('%I', pg_get_userbyid(a.grantee)) END,
    CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' END)
FROM pg_database AS d CROSS JOIN aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) AS a
WHERE d.datname = :'old' AND a.grantee <> d.datdba
UNION ALL
SELECT format('ALTER %s SET %I TO %s',
    CASE s.setrole WHEN 0 THEN format('DATABASE %I', :'new')
        ELSE format('ROLE %I IN DATABASE %I', pg_get_userbyid(s.setrole), :'new') END,
    setting,
    CASE WHEN setting NOT IN ('local_preload_libraries', 'search_path', 'session_preload_libraries', 'temp_tablespaces')
        THEN quote_literal(value)
    ELSE coalesce((
        SELECT string_agg(quote_literal(CASE
            WHEN starts_with(item[1], '"') THEN replace(substr(item[1], 2, length(item[1]) - 2), '""', '"')
            WHEN setting LIKE '%\_libraries' THEN item[1]
            ELSE lower(item[1]) END), ', ' ORDER BY place)
        FROM regexp_matches(value, '"(?:[^"]|"")*"|[^,[:space:]]+', 'g') WITH ORDINALITY AS items (item, place)
    ), '''''') END)
FROM pg_db_role_setting AS s JOIN pg_database AS d ON d.oid = s.setdatabase CROSS JOIN unnest(s.setconfig) AS entry
CROSS JOIN split_part(entry, '=', 1) AS setting CROSS JOIN substr(entry, strpos(entry, '=') + 1) AS value
WHERE d.datname = :'old'
\gexec
SQL
}

# give_rights: deploy/postgres/roles.sql, on the fresh database. The first time so that the roles are there that own
# what is restored, the second time because of what was restored.
give_rights() {
    compose run --rm --no-deps -T --env "PGDATABASE=$fresh" roles || die 'The roles cannot be set up; see above.'
}

migrate() {
    local url
    url=$(url_of "$fresh") || die 'The owner of the fresh database cannot be found out; see above.'
    compose run --rm --no-deps -T --env "DATABASE_URL=$url" migrator ||
        die 'The migrations cannot be applied to the restored database; see above.'
}

prepare() {
    fresh=${database}_restoring_$STAMP
    drop_leftovers || die 'The databases that an earlier run has left cannot be dropped; see above.'
    phase=preparing
    say "Restoring into $fresh."
    create_fresh || die 'The fresh database cannot be created; see above.'
    give_rights
    # An empty name is that of PGDATABASE.
    on_server "$fresh" pg_restore --exit-on-error --dbname '' <"$file" || die "$file cannot be restored; see above."
    copy_settings || die 'The settings of the old database cannot be copied; see above.'
    give_rights
    sql "$fresh" <<<'ANALYZE;' || die 'The restored tables cannot be analysed; see above.'
    ((!start)) || migrate
}

# swap: all or nothing. A session that comes back between its end and the rename makes that fail, so it is repeated.
swap() {
    local attempt
    for attempt in 1 2 3 4 5; do
        if sql template1 --set current="$database" --set fresh="$fresh" --set kept="$kept" >/dev/null <<'SQL'; then
SET client_min_messages = warning;
BEGIN;
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname IN (:'current', :'fresh');
SELECT format('ALTER DATABASE %I RENAME TO %I', :'current', :'kept') FROM pg_database WHERE datname = :'current'
\gexec
ALTER DATABASE :"fresh" RENAME TO :"current";
COMMIT;
SQL
            return
        fi
        say "The databases cannot be swapped (attempt $attempt of 5); see above."
    done
    return 1
}

replace() {
    stop_backend
    if [[ -n $kept ]] && ((safety_backup)); then
        dump "backups/$project-before-restore-$STAMP.dump"
    fi
    swap || die 'Other programs keep connecting to the database.'
    phase=starting
    if ((start)); then
        start_all || exit 1
    fi
}

say_kept() {
    local name size
    while IFS='|' read -r size name; do
        say "Kept:  $name, $size; to drop it:" \
            "docker compose ${files[*]} exec postgres dropdb $(printf -- '-U %q %q' "$user" "$name")"
    done < <(list_kept)
}

# require_history CONTENTS: a table of that name is not enough, because other tools have one too, and an empty one says
# nothing. The rows are in the dump as COPY has them.
require_history() {
    local problem='' rows
    if ! grep -q ' TABLE public schema_migrations ' <<<"$1"; then
        problem='has no schema_migrations'
    else
        rows=$(compose exec -T postgres pg_restore --data-only --schema public --table schema_migrations --file=- \
            <"$file") || die "$file cannot be read; see above."
        rows=$(sed -n '/^COPY public\.schema_migrations (/,/^\\\.$/p; /^INSERT INTO public\.schema_migrations /p' <<<"$rows")
        if [[ $rows == COPY* && ${rows%%$'\n'*} != *applied_at*description* ]]; then
            problem="has a schema_migrations that is not migrator's"
        elif [[ -z $rows || $rows == COPY* && $(wc -l <<<"$rows") -le 2 ]]; then
            problem='has nothing recorded in schema_migrations'
        fi
    fi
    [[ -z $problem ]] || die "$file $problem: it is another application's, or from before the database was adopted." \
        'With --no-start it is restored as it is.'
}

# read_file: refuses what is no backup of this application before anything is touched.
read_file() {
    local contents name
    contents=$(check_dump "$file") || die "$file cannot be read to its end (pg_restore's status is $?): it is damaged," \
        'or was not made by scripts/backup-database.sh (pg_dump --format=custom).'
    name=$(sed -n 's/^; *dbname: //p' <<<"$contents")
    say "$file: $(sed -n 's/^; Archive created at //p' <<<"$contents"), database $name," \
        "$(grep -c ' TABLE DATA ' <<<"$contents" || true) tables"
    say 'What is in it runs as the superuser: go on only if nobody but you could have changed it.'
    ((!start)) || require_history "$contents"
}

main() {
    while (($#)); do
        case $1 in
            --help) usage && exit ;;
            --yes) yes=1 ;;
            --undo) undo=1 ;;
            --no-start) start=0 ;;
            --no-safety-backup) safety_backup=0 ;;
            -*) usage_error "unknown argument: $1" ;;
            *)
                [[ -z $file ]] || usage_error 'one FILE, please'
                [[ -f $1 && -r $1 ]] || usage_error "there is no file $1 that can be read"
                file=$(realpath -- "$1")
                ;;
        esac
        shift
    done
    if ((undo)); then
        [[ -z $file ]] || usage_error '--undo takes no FILE'
        safety_backup=0
    elif [[ -z $file ]]; then
        usage_error 'FILE is missing'
    fi
    open_deployment
    start_postgres
    open_database
    require_room _restoring_20260131T093000Z
    ! has_database "$database" || kept=${database}_before_$STAMP
    if ((undo)); then
        IFS='|' read -r _ fresh < <(list_kept) || die "No database was kept: there is no ${database}_before_TIME."
        confirm "This puts $fresh in the place of database $database of $project, and keeps that."
        phase=preparing
    else
        read_file
        confirm "This puts it in the place of database $database of $project, and keeps that."
        prepare
    fi
    replace
    phase=finished
    say "Done: database $database now has the content of ${file:-$fresh}."
    ((start)) || say 'The backend is stopped, and migrations may be pending: make up applies them and starts it.'
    [[ -z $kept ]] || say 'Back:  scripts/restore-database.sh --undo'
    say_kept
}

main "$@"
