# The private PostgreSQL cluster; sourced by scripts/services. It listens on TCP only: the path of a socket
# below a deep checkout would be longer than the 107 bytes that the kernel takes.

pg_bin() {
  local dir found=''
  for dir in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V) "$(pg_config --bindir 2>/dev/null)"; do
    [ -x "$dir/initdb" ] && [ -x "$dir/postgres" ] && found=$dir
  done
  [ -n "$found" ] && echo "$found"
}

pg_pid_file() { echo "$STATE/postgres.pid"; }

# A client program of the servers' own version, and its arguments.
pg_client() { PGCONNECT_TIMEOUT=3 PGPASSWORD=$PG_PASSWORD "$PG_BIN/$1" -h 127.0.0.1 -p "$PG_PORT" -U rejoin "${@:2}"; }
pg_query() { pg_client psql -X "$@"; }

# Whether our cluster answers a query: pid files and pg_ctl believe in zombies.
pg_answers() { running_pid "$(pg_pid_file)" >/dev/null && pg_query -d rejoin -Atqc 'SELECT 1' >/dev/null 2>&1; }

pg_create() {
  local data=$DATA/postgres/data
  [ -f "$DATA/postgres/created" ] && return
  rm -rf "$DATA/postgres"
  make_owned_dir postgres "$DATA/postgres"
  printf '%s\n' "$PG_PASSWORD" >"$DATA/postgres/password"
  own postgres "$DATA/postgres/password"
  (cd / && as_user postgres "$PG_BIN/initdb" -D "$data" -U rejoin --pwfile="$DATA/postgres/password" \
    --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 --no-sync) >"$STATE/initdb.log" 2>&1 ||
    die "initdb failed: $(tail -n 3 "$STATE/initdb.log")"
  cat >>"$data/postgresql.conf" <<CONF
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 300
log_line_prefix = '%m [%p] %q%a '
CONF
  give_tls postgres "$DATA/postgres/tls"
  [ ! -d "$DATA/postgres/tls" ] || pg_configure_tls "$data" "$DATA/postgres/tls"
  rm -f "$DATA/postgres/password"
  touch "$DATA/postgres/created"
}

pg_configure_tls() {
  cat >>"$1/postgresql.conf" <<CONF
ssl = on
ssl_ca_file = '$2/ca.pem'
ssl_cert_file = '$2/server.pem'
ssl_key_file = '$2/server.key'
CONF
  # The first line that fits counts.
  sed -i '1i hostssl all certified 127.0.0.1/32 cert' "$1/pg_hba.conf"
}

# The server processes of our data folder, also those whose postmaster was killed: each has it as its
# working directory.
pg_processes() {
  local dir
  for dir in /proc/[0-9]*; do
    [ "$(readlink "$dir/cwd" 2>/dev/null)" = "$DATA/postgres/data" ] || continue
    [ "$(cat "$dir/comm" 2>/dev/null)" = postgres ] && echo "${dir#/proc/}"
  done
  return 0
}

pg_no_processes() { [ -z "$(pg_processes)" ]; }

# After a kill: waits for the orphans, then takes away the pid file, which would name a zombie.
pg_clear_remains() {
  local orphan
  wait_until 5 pg_no_processes || for orphan in $(pg_processes); do kill -KILL "$orphan" 2>/dev/null || true; done
  wait_until 5 pg_no_processes || die "processes of a killed PostgreSQL do not end: $(pg_processes | tr '\n' ' ')"
  rm -f "$DATA/postgres/data/postmaster.pid"
}

pg_launch() {
  pg_answers && return
  if ! running_pid "$(pg_pid_file)" >/dev/null; then
    pg_clear_remains
    start_daemon "$(pg_pid_file)" "$STATE/postgres.log" \
      "${AS_POSTGRES[@]}" "$PG_BIN/postgres" -D "$DATA/postgres/data" -p "$PG_PORT"
  fi
}

pg_ready_or_ended() { pg_query -d postgres -Atqc 'SELECT 1' >/dev/null 2>&1 || has_ended "$(pg_pid_file)"; }

# Waits for the launched server; tries other ports where somebody else has taken ours meanwhile.
pg_await() {
  for _ in 1 2 3; do
    wait_until 60 pg_ready_or_ended || die "PostgreSQL does not answer: $(tail -n 5 "$STATE/postgres.log")"
    if ! has_ended "$(pg_pid_file)"; then
      pg_query -d rejoin -Atqc 'SELECT 1' >/dev/null 2>&1 || pg_query -d postgres -qc 'CREATE DATABASE rejoin'
      return
    fi
    PG_PORT=$(free_port)
    save_settings
    pg_launch
  done
  die "PostgreSQL does not start: $(tail -n 5 "$STATE/postgres.log")"
}

pg_stop() { end_process "$(pg_pid_file)" 20 INT QUIT KILL; }
pg_stop_immediate() { end_process "$(pg_pid_file)" 10 QUIT KILL; }
pg_kill() { end_process "$(pg_pid_file)" 10 KILL; }

pg_signal() {
  local pid
  pid=$(running_pid "$(pg_pid_file)") || die "PostgreSQL does not run"
  for pid in $(pg_processes); do kill "-$1" "$pid" 2>/dev/null || true; done
}

pg_command() {
  local verb=${1:-}
  shift || true
  case $verb in
    start) pg_launch && pg_await ;;
    stop) pg_stop ;;
    stop-immediate) pg_stop_immediate ;;
    kill) pg_kill ;;
    freeze) pg_signal STOP ;;
    thaw) pg_signal CONT ;;
    psql) pg_query -d rejoin "$@" ;;
    dump) pg_client pg_dump --format custom --file "$2" "$1" ;;
    restore) pg_client pg_restore --exit-on-error --dbname "$1" "$2" ;;
    *) usage ;;
  esac
}
