#!/usr/bin/env bash
# What the scripts that look after a deployment share. Sourced, never run.
#
# A script that sources this sets `yes` to 1 when it may go on without asking, and defines after_failure, which says in
# what state things are and what to do. Then it calls open_deployment and open_database, in this order.
#
# Nothing here takes a password: it works as the superuser through the server's socket, inside of its container.
# shellcheck disable=SC2034

STAMP=$(date -u +%Y%m%dT%H%M%SZ)
readonly STAMP
readonly STAMPS='[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]T[0-9][0-9][0-9][0-9][0-9][0-9]Z' # matches every stamp
readonly SESSION_NAME=deployment-script # the application_name of all our sessions

yes=0
files=(--file docker-compose.prod-standalone.yml)
project=  # the name of the compose project
user=     # the superuser
database= # the database of the application
is_alone=0 # whether all sessions with our name are those of this script
backends=1
was_running=0 # how many backends ran when the script started
stopped=0     # whether we have begun to stop them
partial=      # the file that is being written, under its temporary name
child=        # the process that is being waited for
scratch=      # the database in which the files are built, while there is one

say() {
    printf '%s\n' "$*"
}

complain() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
}

# die MESSAGE…: ends as a failure; after_failure has the last word.
die() {
    complain "$@"
    exit 1
}

usage_error() {
    complain "$* (--help explains)"
    exit 2
}

# Runs a command so that a signal ends this script at once: bash runs no trap before a foreground command has ended.
# The command does not inherit the lock, which must not outlive this script.
run() {
    local status=0
    "$@" <&0 9>&- &
    child=$!
    wait "$child" || status=$?
    child=
    return "$status"
}

compose() {
    run docker compose --progress quiet "${files[@]}" "$@"
}

# on_server DATABASE PROGRAM [OPTION…]: runs one of PostgreSQL's programs in the server's container as the superuser.
# The database is a variable, because an option would take a name with = in it for a list of settings. On this path,
# which goes before that of the database, nothing that other roles have made is found in the place of the server's own.
on_server() {
    compose exec -T --env "PGAPPNAME=$SESSION_NAME" --env "PGDATABASE=$1" \
        --env 'PGOPTIONS=-c search_path=pg_catalog,pg_temp' postgres "$2" --username "$user" "${@:3}"
}

# sql DATABASE [OPTION…]: runs the statements on standard input as the superuser and prints bare rows.
sql() {
    on_server "$1" psql --no-psqlrc --quiet --no-align --tuples-only --set ON_ERROR_STOP=1 "${@:2}"
}

# owner_of DATABASE: prints the name of its owner as it is.
owner_of() {
    sql template1 --set name="$1" <<<"SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = :'name';"
}

# in_url TEXT: prints a name as it has to be in a URL: every byte that may mean something there as %XX.
in_url() {
    local LC_ALL=C
    if [[ $1 =~ ^[A-Za-z0-9._~-]+$ ]]; then
        printf '%s' "$1"
    else
        printf '%s' "$1" | od -An -v -tx1 | tr -d ' \n' | sed 's/../%&/g'
    fi
}

# url_of DATABASE: prints the address of the database for its owner, the migrator, which reads the password itself.
url_of() {
    local owner
    owner=$(owner_of "$1") || return
    printf 'postgresql://%s@postgres:5432/%s' "$(in_url "$owner")" "$(in_url "$1")"
}

# Ends what a run that was killed has left on the server: a program in a container outlives the client that started it.
end_sessions() {
    sql template1 --set name="$SESSION_NAME" >/dev/null <<'SQL'
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
WHERE application_name = :'name' AND pid <> pg_backend_pid();
SQL
}

at_exit() {
    local status=$1
    set +e
    trap '' HUP INT TERM
    if [[ -n $child ]]; then
        kill "$child" 2>/dev/null
        wait "$child" 2>/dev/null
        child=
        [[ -z $user ]] || ((!is_alone)) || end_sessions
    fi
    [[ -z $partial ]] || rm -f -- "$partial"
    ((status == 0)) || after_failure "$status" >&2
}

# open_deployment: finds the deployment that this folder belongs to, and keeps other runs of these scripts out of it.
open_deployment() {
    find_deployment
    command -v flock >/dev/null || die 'There is no flock; it is in the package util-linux.'
    mkdir -p backups
    exec 9>"backups/.$project.lock"
    flock --nonblock 9 || die "Another backup, restore or reset of $project is running. Wait until it has ended."
    is_alone=1
    # Nobody writes to these any more: we have the lock.
    # shellcheck disable=SC2086
    rm -f -- backups/."$project"-$STAMPS.dump.partial backups/."$project"-before-restore-$STAMPS.dump.partial
}

# find_deployment: the first half of open_deployment, for a script that changes nothing.
find_deployment() {
    trap 'at_exit $?' EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    umask 077
    # What is typed is read from there; everything else gets no input but what it is given.
    exec 3<&0 </dev/null
    cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." || exit
    # shellcheck disable=SC2086
    [[ -z ${OVERLAYS+given} ]] || scripts/remember-overlays.sh $OVERLAYS || exit
    docker compose version >/dev/null || die 'Docker Compose does not answer; see above.'
    project=$(compose config | sed -n 's/^name: //p') || die 'The compose files or their settings are wrong; see above.'
}

# open_database: learns what it is called, and what runs; ends what a killed run has left.
open_database() {
    learn_names
    end_sessions || die 'PostgreSQL does not answer; see above.'
    was_running=$(compose ps --quiet backend | wc -l)
    backends=$(compose ps --all --quiet backend | wc -l)
    ((backends > 0)) || backends=1
}

# learn_names: those of the superuser and of the database.
learn_names() {
    local names lines
    names=$(compose exec -T postgres printenv POSTGRES_USER POSTGRES_DB) ||
        die "PostgreSQL of $project does not run. Start it: docker compose ${files[*]} up --detach --wait postgres"
    mapfile -t lines <<<"$names"
    ((${#lines[@]} == 2)) || die 'POSTGRES_USER and POSTGRES_DB must have no line break in them.'
    user=${lines[0]}
    database=${lines[1]}
}

# start_postgres: as it is, even where the settings have changed since.
start_postgres() {
    compose up --detach --wait --no-recreate postgres || die 'PostgreSQL does not start; see above.'
}

# require_room SUFFIX: the server would cut a longer name, and take another database for the one that is meant.
require_room() {
    local LC_ALL=C
    ((${#database} + ${#1} <= 63)) || die "The name $database is too long: with $1, which the script has to add, it" \
        'must have 63 bytes at most.'
}

# has_database NAME
has_database() {
    [[ $(sql template1 --set name="$1" <<<"SELECT 1 FROM pg_database WHERE datname = :'name';") == 1 ]]
}

# is_new: prints t when nobody has worked with the database: it has no table, or none but those that the migrator has
# made, and none of them ever had a row.
is_new() {
    sql "$database" <<'SQL'
SELECT EXISTS (SELECT FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid
    WHERE c.oid = to_regclass('public.schema_migrations') AND relkind = 'r' AND attname = 'execution_ms') AS has_history
\gset
\if :has_history
SELECT count(*) = 0 AS is_built FROM public.schema_migrations WHERE execution_ms IS NULL
\gset
\else
\set is_built f
\endif
SELECT count(*) = 0 OR :'is_built' AND coalesce(sum(pg_relation_size(oid)), 0) = 0
FROM pg_class
WHERE relkind IN ('r', 'p', 'f') AND relnamespace::regnamespace::text !~ '^(pg_|information_schema)'
    AND NOT (:'is_built' AND relnamespace = 'public'::regnamespace
        AND relname IN ('schema_migrations', 'schema_migrations_progress'));
SQL
}

# say_where_others_are: names the volume that the database is in, when it was made, and the volumes that may have another.
say_where_others_are() {
    local container volume others made
    container=$(compose ps --quiet postgres)
    volume=$(docker inspect --format \
        '{{range .Mounts}}{{if eq .Destination "/var/lib/postgresql/data"}}{{.Name}}{{end}}{{end}}' "$container")
    made=$(sql "$database" <<<"SELECT to_char(modification AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') || ' UTC'
        FROM pg_stat_file('PG_VERSION');")
    say "The database is in the volume ${volume:-of its container}, which has been in use since $made."
    others=$(docker volume ls --format '{{.Name}}' | grep -iE 'postgres|pg.?data' | grep -vFx -e "$volume" |
        grep -v 'postgres_socket$' | head -n 10) || true
    if [[ -n $others ]]; then
        say 'Other volumes of this host that may have a database of PostgreSQL:'
        say "  ${others//$'\n'/$'\n'  }"
    else
        say 'No other volume of this host looks as if it had a database of PostgreSQL.'
    fi
    say 'docs/deployment.md, "A database that is there already", says how to go on with one of them.'
}

# drop_scratch: the database in which the files are built.
drop_scratch() {
    sql template1 --set name="$scratch" <<<'DROP DATABASE IF EXISTS :"name" WITH (FORCE);' 2>/dev/null
}

# create_scratch SUFFIX: makes it, in the place of one that a killed run has left; the role of the migrator may not.
create_scratch() {
    scratch=$database$1
    drop_scratch || return
    sql template1 --set old="$database" --set new="$scratch" <<'SQL'
SELECT format('CREATE DATABASE %I OWNER %I TEMPLATE template0 ENCODING %L LC_COLLATE %L LC_CTYPE %L',
    :'new', pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate, datctype)
FROM pg_database WHERE datname = :'old'
\gexec
SQL
}

# confirm QUESTION: goes on only after YES has been typed.
confirm() {
    local answer=
    if ! ((yes)); then
        printf '%s Type YES to continue: ' "$1"
        read -r -u 3 answer || true
        [[ $answer == YES ]] || usage_error 'that was not YES; --yes goes on without asking'
    fi
}

# check_dump FILE: reads it to its end, which finds a file that was cut off or damaged; prints its table of contents.
check_dump() {
    compose exec -T postgres pg_restore --list <"$1" &&
        compose exec -T postgres pg_restore --file=/dev/null <"$1"
}

# dump FILE: writes the database into it. The name appears when the file is complete, checked and on the disk.
dump() {
    partial=backups/.${1##*/}.partial
    on_server "$database" pg_dump --format=custom >"$partial" ||
        die "The database could not be written to $1; see above."
    check_dump "$partial" >/dev/null || die "The file that was written cannot be read again; see above."
    sync "$partial"
    mv -- "$partial" "$1"
    partial=
    sync backups
    say "Wrote $1 ($(du -h -- "$1" | cut -f 1))."
}

stop_backend() {
    say 'Stopping the backend.'
    stopped=1
    compose stop backend || die 'The backend cannot be stopped; see above.'
}

# start_all: as `make up`; ends when all is healthy.
start_all() {
    local since
    since=$(date -u +%Y-%m-%dT%H:%M:%SZ)
    say 'Starting the backend.'
    compose up --detach --wait --scale "backend=$backends" && return
    complain 'The backend does not start, or does not become healthy. The log of the migrator and the backend since then:'
    compose logs --no-color --since "$since" --tail 40 migrator backend >&2
    scripts/explain-backend.sh docker compose "${files[@]}" >&2
    return 1
}

# resume_backend: for a failure that leaves the database as it was; says what became of the backend.
resume_backend() {
    if ((!stopped)); then
        say 'The backend was not stopped.'
    elif ((was_running == 0)); then
        say 'The backend did not run before, and does not run now. Start it: make up'
    # A stop that was interrupted goes on in the engine.
    elif compose stop backend &&
        compose up --detach --wait --no-deps --no-recreate --scale "backend=$backends" backend; then
        say 'The backend runs again and is healthy.'
    else
        say 'The backend does not become healthy. Next: make logs, then make up.'
    fi
}
