#!/usr/bin/env bash
# Builds the images of the deployment, and keeps the previous ones; --help explains.
set -Eeuo pipefail

usage() {
    cat <<'USAGE'
Usage: scripts/build-images.sh

Builds the images of the services that the deployment builds itself. Each image has the commit that it was built from as
a label. An image that another one takes the name of gets a tag with its commit, such as fingerflow-migrator:1a2b3c4d5e6f,
or the tag `previous` if its commit is not known: with that name in MIGRATOR_IMAGE or BACKEND_IMAGE, `make up` rolls the
release back.

Exit status: 0 done, else that of docker compose build.
USAGE
}

readonly COMPOSE=(docker compose --file docker-compose.prod-standalone.yml)

# revision: prints the commit of the folder, with -dirty where files were changed after it; nothing without a commit.
revision() {
    local commit
    commit=$(git rev-parse HEAD 2>/dev/null) || return 0
    [[ -z $(git status --porcelain 2>/dev/null) ]] || commit+=-dirty
    printf '%s' "$commit"
}

# id IMAGE: prints what the name leads to now; nothing when there is no such image here.
id() {
    docker image inspect --format '{{.Id}}' "$1" 2>/dev/null || true
}

# keep IMAGE ID: gives an image that lost its name another one.
keep() {
    local image=$1 repository=$1 commit tag=previous
    [[ ${image##*/} != *:* ]] || repository=${image%:*}
    commit=$(docker image inspect --format '{{index .Config.Labels "org.opencontainers.image.revision"}}' "$2")
    if [[ $commit =~ ^([0-9a-f]{12})[0-9a-f]*(-dirty)?$ ]]; then
        tag=${BASH_REMATCH[1]}${BASH_REMATCH[2]}
    fi
    docker image tag "$2" "$repository:$tag"
    printf 'The previous %s is now %s.\n' "$image" "$repository:$tag"
}

main() {
    local image
    local -A before=()
    [[ ${1:-} != --help ]] || { usage && exit; }
    cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
    while IFS= read -r image; do
        before[$image]=$(id "$image")
    done < <("${COMPOSE[@]}" config --images | sort -u)
    "${COMPOSE[@]}" build --build-arg "REVISION=$(revision)" \
        --build-arg "VERSION=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' migrator/process/version.py 2>/dev/null)"
    for image in "${!before[@]}"; do
        if [[ -n ${before[$image]} && $(id "$image") != "${before[$image]}" ]]; then
            keep "$image" "${before[$image]}"
        fi
    done
}

main "$@"
