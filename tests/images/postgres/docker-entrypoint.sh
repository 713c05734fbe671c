#!/bin/bash
# Makes a database cluster in an empty data folder, then becomes the server. Written from the description of the
# official image, with its variables; see README.md.
set -Eeuo pipefail

say() {
    printf 'entrypoint: %s\n' "$*"
}

die() {
    printf 'entrypoint: %s\n' "$@" >&2
    exit 1
}

# setting NAME [DEFAULT]: exports the variable NAME, from NAME, from the file that NAME_FILE names, or to DEFAULT, and
# takes NAME_FILE out of the environment.
setting() {
    local name=$1 file=${1}_FILE
    [[ -z ${!name:-} || -z ${!file:-} ]] || die "$name and $file are both set, and only one of them can be meant."
    if [[ -n ${!file:-} ]]; then
        [[ -r ${!file} ]] || die "$file is ${!file}, which cannot be read."
        export "$name=$(<"${!file}")"
    else
        export "$name=${!name:-${2:-}}"
    fi
    unset "$file"
}

# Gives the server's folders to the user postgres and starts this script again as that user.
drop_root() {
    mkdir -p "$PGDATA"
    chmod 0700 "$PGDATA"
    find "$PGDATA" /var/run/postgresql \! -user postgres -exec chown postgres:postgres {} +
    if [[ -n ${POSTGRES_INITDB_WALDIR:-} ]]; then
        mkdir -p "$POSTGRES_INITDB_WALDIR"
        find "$POSTGRES_INITDB_WALDIR" \! -user postgres -exec chown postgres:postgres {} +
    fi
    exec setpriv --reuid=postgres --regid=postgres --init-groups -- "${BASH_SOURCE[0]}" "$@"
}

# initdb wants the name of the user that it runs as, which `docker run --user 1234` does not have.
name_the_user() {
    local wrapper
    if ! getent passwd "$EUID" >/dev/null; then
        wrapper=$(find /usr/lib -name libnss_wrapper.so -print -quit)
        export NSS_WRAPPER_PASSWD=/tmp/.nss_passwd NSS_WRAPPER_GROUP=/tmp/.nss_group LD_PRELOAD=$wrapper
        printf 'postgres:x:%d:%d::%s:/bin/false\n' "$EUID" "$(id -g)" "$PGDATA" >"$NSS_WRAPPER_PASSWD"
        printf 'postgres:x:%d:\n' "$(id -g)" >"$NSS_WRAPPER_GROUP"
    fi
}

make_cluster() {
    local initdb_options=() method
    if [[ -z $POSTGRES_PASSWORD && ${POSTGRES_HOST_AUTH_METHOD:-} != trust ]]; then
        die 'the database is not initialised and no superuser password is given.' \
            'Set POSTGRES_PASSWORD (or POSTGRES_PASSWORD_FILE) to one that is not empty, or' \
            'POSTGRES_HOST_AUTH_METHOD=trust to let everyone in without a password.'
    fi
    [[ ${POSTGRES_HOST_AUTH_METHOD:-} != trust ]] ||
        say 'WARNING: POSTGRES_HOST_AUTH_METHOD=trust lets everyone in without a password.' >&2
    # The variable holds options as they are written in a shell, quotes included.
    eval "initdb_options=(${POSTGRES_INITDB_ARGS:-})"
    [[ -z ${POSTGRES_INITDB_WALDIR:-} ]] || initdb_options+=("--waldir=$POSTGRES_INITDB_WALDIR")
    if [[ -n $POSTGRES_PASSWORD ]]; then
        initdb --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") "${initdb_options[@]}"
    else
        initdb --username="$POSTGRES_USER" "${initdb_options[@]}"
    fi
    method=${POSTGRES_HOST_AUTH_METHOD:-$(postgres -C password_encryption)}
    printf '\nhost all all all %s\n' "$method" >>"$PGDATA/pg_hba.conf"
}

sql() {
    psql --no-psqlrc --no-password --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" "$@"
}

run_init_scripts() {
    local file
    shopt -s nullglob
    for file in /docker-entrypoint-initdb.d/*; do
        case $file in
            *.sh)
                # Without the executable bit a script is meant to be read into this shell.
                if [[ -x $file ]]; then
                    say "running $file"
                    "$file"
                else
                    say "sourcing $file"
                    # shellcheck source=/dev/null
                    source "$file"
                fi
                ;;
            *.sql)
                say "running $file"
                sql --dbname "$POSTGRES_DB" --file "$file"
                ;;
            *.sql.gz)
                say "running $file"
                gunzip --stdout "$file" | sql --dbname "$POSTGRES_DB"
                ;;
            *) say "ignoring $file" ;;
        esac
    done
}

# fill_cluster SERVER_OPTION…: makes the database and runs the scripts, with a server that only the socket reaches.
fill_cluster() {
    local options
    printf -v options '%q ' "$@" -c listen_addresses= -p "${PGPORT:-5432}"
    # A client of this first server must not be sent elsewhere by a variable meant for other programs.
    unset PGHOST PGHOSTADDR
    export PGPASSWORD=$POSTGRES_PASSWORD
    pg_ctl --wait --options="$options" start
    if [[ $POSTGRES_DB != postgres ]]; then
        sql --dbname postgres --set name="$POSTGRES_DB" <<<'CREATE DATABASE :"name";'
    fi
    run_init_scripts
    pg_ctl --wait --mode=fast stop
    unset PGPASSWORD
}

# Whether the arguments only ask the server to describe itself.
asks_for_help() {
    local argument
    for argument in "$@"; do
        case $argument in
            -\? | --help | -V | --version | --describe-config) return 0 ;;
        esac
    done
    return 1
}

main() {
    [[ ${1:-} != -* ]] || set -- postgres "$@"
    if [[ ${1:-} == postgres ]] && ! asks_for_help "$@"; then
        setting POSTGRES_PASSWORD
        setting POSTGRES_USER postgres
        setting POSTGRES_DB "$POSTGRES_USER"
        setting POSTGRES_INITDB_ARGS
        if [[ $EUID -eq 0 ]]; then
            drop_root "$@"
        fi
        if [[ -s $PGDATA/PG_VERSION ]]; then
            say "$PGDATA holds a database cluster, nothing to initialise"
        else
            name_the_user
            make_cluster
            fill_cluster "${@:2}"
            unset LD_PRELOAD NSS_WRAPPER_PASSWD NSS_WRAPPER_GROUP
            say 'the database is initialised, starting the server'
        fi
    fi
    exec "$@"
}

main "$@"
