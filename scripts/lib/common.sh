# Shared by the scripts of this folder; sourced, never run. Needs bash.

say() { printf '%s\n' "$*" >&2; }
die() { say "${0##*/}: $*"; exit 1; }

is_root() { [ "$(id -u)" = 0 ]; }

# as_user USER COMMAND…: runs as USER when we are root (the servers refuse root), else as we are.
as_user() {
  local user=$1
  shift
  if is_root; then setpriv --reuid="$user" --regid="$user" --clear-groups -- "$@"; else "$@"; fi
}

# The state letter and the start time of a process: a pid alone may be another's by now.
# Fields are counted after the last ')': a command's name may hold blanks and brackets.
process_stat() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  # shellcheck disable=SC2086
  set -- ${stat##*) }
  echo "$1 ${20}"
}

# Writes "pid starttime" of a process that we have just started.
remember_pid() {
  local file=$1 pid=$2 stat
  stat=$(process_stat "$pid") || return 1
  echo "$pid ${stat#* }" >"$file"
}

# Prints the pid of a process that we started and that still runs. A zombie (PID 1 of a container often
# reaps nobody) does not run.
running_pid() {
  local pid started stat
  [ -r "$1" ] && read -r pid started <"$1" || return 1
  stat=$(process_stat "$pid") || return 1
  [ "${stat%% *}" != Z ] && [ "${stat#* }" = "$started" ] && echo "$pid"
}

# wait_until SECONDS COMMAND…: polls ten times a second.
wait_until() {
  local polls=$(($1 * 10))
  shift
  while ! "$@"; do
    polls=$((polls - 1))
    [ "$polls" -gt 0 ] || return 1
    sleep 0.1
  done
}

has_ended() { ! running_pid "$1" >/dev/null; }

# end_process PIDFILE SECONDS SIGNAL…: each signal in turn until the process has ended.
end_process() {
  local file=$1 seconds=$2 pid signal
  shift 2
  for signal in "$@"; do
    pid=$(running_pid "$file") || break
    kill "-$signal" "$pid" 2>/dev/null || true
    wait_until "$seconds" has_ended "$file" && break
  done
  has_ended "$file" || return 1
  rm -f "$file"
}

port_answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# A port below the range from which the kernel serves outgoing connections, at which nobody listens.
free_port() {
  local port
  for _ in $(seq 100); do
    port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
    port_answers "$port" || { echo "$port"; return; }
  done
  die "no free port between 20000 and 32000"
}

# start_daemon PIDFILE LOG COMMAND…: in a session of its own, with its own stdio and no other descriptor:
# an inherited lock or pipe would be held for as long as the daemon lives.
start_daemon() {
  local file=$1 log=$2
  shift 2
  (
    for fd in /proc/self/fd/*; do
      fd=${fd##*/}
      [ "$fd" -le 2 ] || eval "exec $fd>&-" 2>/dev/null || true
    done
    cd / || exit 1
    exec setsid "$@" </dev/null >>"$log" 2>&1
  ) &
  remember_pid "$file" $! || return 1
}
