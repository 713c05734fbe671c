#!/usr/bin/env bash
# Writes the database of the deployment into a file; --help explains.
set -Eeuo pipefail

usage() {
    cat <<'USAGE'
Usage: scripts/backup-database.sh [--keep N] [--yes]

Writes the database into backups/PROJECT-TIME.dump (pg_dump's custom format, mode 0600), reads the file back to its
end, and then removes all of these files except the newest N. The backend keeps working. The file has the database at
the moment when the backup began. Restore it with scripts/restore-database.sh.

  --keep N    how many files to keep, this one included; 0 keeps all (default 14). The safety backups that a restore
              makes (PROJECT-before-restore-TIME.dump) are never removed.
  --yes       has no effect, because this script asks nothing; the other scripts have this option too

Environment: OVERLAYS, more compose files, as for make; and what the compose files read.

Exit status: 0 done, 1 failed, 2 wrong usage, 130 or 143 interrupted. No half file is left under a final name.
USAGE
}

here=$(dirname -- "${BASH_SOURCE[0]}")
# shellcheck source-path=SCRIPTDIR source=deployment.sh
source "$here/deployment.sh"

keep=14
written=

after_failure() {
    if [[ -n $written ]]; then
        say "State: $written is complete, but not all of the older files were removed."
    elif [[ -n $user ]]; then
        say 'State: no backup was made. The database and earlier backups were not changed.'
    fi
}

# remove_old: never the file just written, whatever the clock said when the others were.
remove_old() {
    local file others=()
    for file in backups/"$project"-$STAMPS.dump; do
        [[ $file == "$written" ]] || others+=("$file")
    done
    while ((keep > 0 && ${#others[@]} >= keep)); do
        rm -- "${others[0]}"
        say "Removed ${others[0]}."
        others=("${others[@]:1}")
    done
}

main() {
    while (($#)); do
        case $1 in
            --help) usage && exit ;;
            --yes) yes=1 ;;
            --keep)
                [[ ${2:-} =~ ^[0-9]{1,6}$ ]] || usage_error '--keep needs a number'
                keep=$((10#$2))
                shift
                ;;
            *) usage_error "unknown argument: $1" ;;
        esac
        shift
    done
    open_deployment
    open_database
    local file=backups/$project-$STAMP.dump
    [[ ! -e $file ]] || die "$file exists already: two backups within one second."
    dump "$file"
    written=$file
    remove_old
}

main "$@"
