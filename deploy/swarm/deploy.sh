#!/usr/bin/env bash
# Deploys the stack, or a new release of it, in the right order; --help explains.
set -Eeuo pipefail

usage() {
    cat <<'USAGE'
Usage: deploy/swarm/deploy.sh [--wait SECONDS] [--resolve-image always|changed|never]

Deploys the stack files next to this script, one after the other, on the swarm that `docker` talks to, which must be one
of its managers:
  1. database.yml, until the job `roles` has ended;
  2. migrator.yml, until the job `gate` has ended: `migrator check --wait`, which ends when no migration is pending;
  3. backend.yml, until as many tasks as wanted are healthy.
If one of them fails, the next one is not deployed: a failed migration leaves the previous backend running. It may be
run again at any time.

  --wait SECONDS    how long to wait for each of the three (default 3600)
  --resolve-image   as for `docker stack deploy`: never, for images that no registry has

Environment: STACK, the stack's name (fingerflow); MIGRATOR_IMAGE, BACKEND_IMAGE, DOMAIN and what else the stack files
read. README.md lists the secrets that must exist.

Exit status: 0 done, 1 failed, 2 wrong usage.
USAGE
}

export STACK=${STACK:-fingerflow}
# The stack files cannot nest a default into another.
export POSTGRES_PASSWORD_SECRET=${POSTGRES_PASSWORD_SECRET:-${STACK}_postgres_password}
export MIGRATOR_PASSWORD_SECRET=${MIGRATOR_PASSWORD_SECRET:-${STACK}_migrator_password}
export BACKEND_PASSWORD_SECRET=${BACKEND_PASSWORD_SECRET:-${STACK}_backend_password}
export SECRET_KEY_SECRET=${SECRET_KEY_SECRET:-${STACK}_secret_key}
# Two stacks must not take each other's images.
export MIGRATOR_IMAGE=${MIGRATOR_IMAGE:-${STACK}-migrator:prod}
export BACKEND_IMAGE=${BACKEND_IMAGE:-${STACK}-backend:prod}
wait=3600
options=()

say() {
    printf '%s\n' "$*"
}

die() {
    printf 'deploy.sh: %s\n' "$@" >&2
    exit 1
}

usage_error() {
    printf 'deploy.sh: %s (--help explains)\n' "$*" >&2
    exit 2
}

deploy() {
    say "Deploying $1."
    docker stack deploy --detach=true "${options[@]}" --compose-file "$1" "$STACK"
}

# job_state NAME: prints the state and the id of the task of the job's present run: a service that is deployed again
# runs its job again, even when nothing has changed.
job_state() {
    local run tasks
    run=$(docker service inspect --format '{{.JobStatus.JobIteration.Index}}' "${STACK}_$1")
    tasks=$(docker service ps --quiet --no-trunc "${STACK}_$1")
    # shellcheck disable=SC2086
    [[ -z $tasks ]] || docker inspect --type task --format '{{.JobIteration.Index}} {{.Status.State}} {{.ID}}' $tasks |
        awk -v run="$run" '$1 == run { print $2, $3 }'
}

# wait_for_jobs NAME…: until the last of these has ended well; fails when one of them ends otherwise.
wait_for_jobs() {
    local job state task
    local -i end=SECONDS+wait
    while true; do
        for job in "$@"; do
            state='' task=''
            read -r state task < <(job_state "$job") || true
            case $state in
                complete) [[ $job != "${!#}" ]] || return 0 ;;
                failed | rejected | orphaned | remove | shutdown)
                    docker service logs --raw "$task" >&2 || true
                    docker inspect --type task --format "The job $job: {{.Status.State}}, {{.Status.Err}}" "$task" >&2
                    return 1
                    ;;
            esac
        done
        ((SECONDS < end)) || break
        sleep 0.5
    done
    printf 'The job %s is %s after %s s.\n' "$job" "${state:-not placed on a node}" "$wait" >&2
    docker service ps --no-trunc "${STACK}_$job" >&2
    return 1
}

# deploy_backend: the client itself waits until what runs is what was deployed, or was put back; its status is 0 for both.
deploy_backend() {
    local state
    say 'Deploying backend.yml.'
    if timeout "$wait" docker stack deploy --detach=false --quiet "${options[@]}" --compose-file backend.yml "$STACK"; then
        state=$(docker service inspect --format '{{with .UpdateStatus}}{{.State}}{{end}}' "${STACK}_backend")
        [[ $state == rollback* || $state == paused ]] || return 0
    fi
    docker service ps --no-trunc "${STACK}_backend" >&2
    return 1
}

main() {
    while (($#)); do
        case $1 in
            --help) usage && exit ;;
            --wait)
                [[ ${2:-} =~ ^[1-9][0-9]{0,6}$ ]] || usage_error '--wait needs a number of seconds'
                wait=$2
                shift
                ;;
            --resolve-image)
                [[ ${2:-} =~ ^(always|changed|never)$ ]] || usage_error '--resolve-image needs always, changed or never'
                options+=(--resolve-image "$2")
                shift
                ;;
            *) usage_error "unknown argument: $1" ;;
        esac
        shift
    done
    cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
    [[ -n ${DOMAIN:-} ]] || usage_error 'DOMAIN is missing: the host name that users type'
    [[ $(docker info --format '{{.Swarm.ControlAvailable}}') == true ]] ||
        die 'This engine is not the manager of a swarm; docker swarm init makes it a manager.'
    ROLES_HASH=$(sha256sum ../postgres/roles.sql | cut -c 1-12)
    export ROLES_HASH

    deploy database.yml
    wait_for_jobs roles ||
        die 'The database or its roles are not ready. No migration was run, and the backend was not touched.'
    deploy migrator.yml
    if ! wait_for_jobs migrator gate; then
        docker service rm "${STACK}_gate" >/dev/null
        die 'The migrations were not all applied; see above.' \
            'A previous backend keeps serving. Correct what the message above names, then run this again.'
    fi
    deploy_backend || die 'The backend does not become healthy. If there was a previous release, Swarm rolls back to it.' \
        "docker service logs ${STACK}_backend says why. The schema is not changed back."
    say "Done: the backend runs, and no migration is pending."
}

main "$@"
