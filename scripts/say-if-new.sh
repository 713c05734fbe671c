#!/usr/bin/env bash
# Says it when the deployment's database is a new one, in which nobody has worked yet.
#
# Another name of the project, or of the volume, makes a new database beside the old one, and everything is healthy.
# `make up` runs this at its end. It changes nothing. Exit status: 0, or 1 when PostgreSQL does not answer.
set -Eeuo pipefail

here=$(dirname -- "${BASH_SOURCE[0]}")
# shellcheck source-path=SCRIPTDIR source=deployment.sh
source "$here/deployment.sh"

after_failure() {
    :
}

find_deployment
learn_names
[[ $(is_new) == t ]] || exit 0
say "Note: database $database of $project is new: no row has been written into its tables. If there should be rows:"
say_where_others_are
