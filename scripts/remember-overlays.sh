#!/usr/bin/env bash
# Writes into .env which compose files lie over the deployment's services; --help explains.
set -Eeuo pipefail

usage() {
    cat <<'USAGE'
Usage: scripts/remember-overlays.sh [FILE…]

Writes the names of the files into .env, as OVERLAY, OVERLAY_2, OVERLAY_3 and OVERLAY_4, in the place of those that are
there. docker-compose.prod-standalone.yml reads them from there, in this order: so every command finds the same
deployment. Without a FILE, the names are removed. `make` calls this when OVERLAYS is given to it.

Exit status: 0 done, 2 wrong usage.
USAGE
}

usage_error() {
    printf '%s: %s (--help explains)\n' "${0##*/}" "$*" >&2
    exit 2
}

# A line of .env that names an overlay.
readonly OURS='^OVERLAY(_[2-4])?='
readonly MOST=4

main() {
    local file name=OVERLAY new old number=1 env=.env lines=()
    [[ ${1:-} != --help ]] || { usage && exit; }
    (($# <= MOST)) || usage_error "$# overlays, but at most $MOST can be remembered"
    for file in "$@"; do
        [[ $file =~ ^[A-Za-z0-9._/+-]+$ ]] || usage_error "the name of an overlay has another character than A-Z, a-z," \
            "0-9 and . _ / + - in it: $file"
        lines+=("$name=$file")
        name=OVERLAY_$((++number))
    done
    cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
    for file in "$@"; do
        [[ -f $file && -r $file ]] || usage_error "there is no file $file that can be read"
    done
    old=$(grep -E "$OURS" "$env" 2>/dev/null) || true
    new=$( (($# == 0)) || printf '%s\n' "${lines[@]}")
    [[ $old != "$new" ]] || return 0
    umask 077
    touch "$env"
    # As a whole or not at all, because it has passwords in it; where it is a link, what the link leads to.
    env=$(realpath -- "$env")
    {
        grep -vE "$OURS" "$env" || true
        [[ -z $new ]] || printf '%s\n' "$new"
    } >"$env.new"
    chmod --reference="$env" "$env.new"
    mv -- "$env.new" "$env"
    if [[ -n $new ]]; then
        printf '.env: %s, for every command from now on\n' "${lines[*]}" >&2
    else
        printf '.env: no overlays any more\n' >&2
    fi
}

main "$@"
