#!/usr/bin/env bash
# Compares the schema of the deployment's database with what the files describe; --help explains.
set -Eeuo pipefail

usage() {
    cat <<'USAGE'
Usage: scripts/verify-database.sh [OPTION…]

Runs `migrator verify` with the options, such as --version N, --grants or --json. It needs a scratch database, in which
it builds what the files describe, and the role of the migrator may not create one. This script creates it beside the
deployment's database, and drops it at the end. If the script was killed, the next run drops it. The deployment's
database is only read, and the backend keeps working.

Environment: OVERLAYS, more compose files, as for make; and what the compose files read.

Exit status: that of migrator verify: 0 no differences, 5 differences, and others that its own --help lists; 1 where the
scratch database cannot be created, 130 or 143 interrupted.
USAGE
}

here=$(dirname -- "${BASH_SOURCE[0]}")
# shellcheck source-path=SCRIPTDIR source=deployment.sh
source "$here/deployment.sh"

after_failure() {
    [[ -z $scratch ]] || drop_scratch || say "$scratch is still there; this script drops it when it runs again."
}

main() {
    local status=0 url
    [[ ${1:-} != --help ]] || { usage && exit; }
    open_deployment
    open_database
    require_room _verify_scratch
    create_scratch _verify_scratch || die 'The scratch database cannot be created; see above.'
    url=$(url_of "$scratch") || die 'The owner of the scratch database cannot be found out; see above.'
    compose run --rm --no-deps -T --env "MIGRATOR_SCRATCH_URL=$url" migrator verify "$@" || status=$?
    drop_scratch || die "$scratch cannot be dropped; see above."
    scratch=
    ((status == 0)) || exit "$status"
}

main "$@"
