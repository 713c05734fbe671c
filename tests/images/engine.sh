# What `prepare` and `stop` both know about the engine that `prepare` starts. Sourced, never run.
# shellcheck shell=bash disable=SC2034

STATE=/var/lib/migrator-test-engine # tools, images, pidfile and log of that engine
EXEC_ROOT=/run/migrator-test-engine
PIDFILE=$STATE/dockerd.pid
SOCKET=/var/run/docker.sock

say() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
}

die() {
    say "$*"
    exit 1
}

# Prints the process id of the running engine that `prepare` started; fails when there is none. A process id
# outlives its process in the pidfile, so the command line has to name this very pidfile too.
own_engine() {
    local pid
    pid=$(cat "$PIDFILE" 2>/dev/null) || return 1
    [[ $pid =~ ^[0-9]+$ ]] || return 1
    tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | grep -qxF -- "--pidfile=$PIDFILE" || return 1
    printf '%s\n' "$pid"
}
