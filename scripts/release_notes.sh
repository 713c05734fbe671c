#!/usr/bin/env bash
# Prints what CHANGELOG.md says of one version.
#
#   scripts/release_notes.sh 1.2.0
set -Eeuo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

version=${1:?is the version, for example 1.2.0}
notes=$(awk -v "head=## [$version]" '
    /^## / || /^\[[^]]+\]: / { wanted = index($0, head) == 1; next }
    wanted
' CHANGELOG.md)
if [[ -z ${notes//[[:space:]]/} ]]; then
    echo "CHANGELOG.md has no notes for version $version" >&2
    exit 1
fi
printf '%s\n' "$notes"
