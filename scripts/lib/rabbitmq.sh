# The private RabbitMQ node; sourced by scripts/services. The server's own script is started, not the wrapper
# in /usr/sbin (which refuses other users), and everything it would share with a system's node is set: home
# (cookie), name, ports, EPMD, folders, configuration.

RABBIT_BIN=/usr/lib/rabbitmq/bin

rabbit_installed() { [ -x "$RABBIT_BIN/rabbitmq-server" ] && command -v epmd >/dev/null; }

rabbit_pid_file() { echo "$STATE/rabbitmq.pid"; }
epmd_pid_file() { echo "$STATE/epmd.pid"; }

# RABBITMQ_ALLOW_INPUT lets the server's script become the node instead of waiting for it: the pid that we
# remember is the node's own. The input is refused all the same.
rabbit_env() {
  local base=$DATA/rabbitmq
  RABBIT_ENV=(env -u ERL_FLAGS -u ERL_AFLAGS -u ERL_ZFLAGS -u ERL_LIBS
    HOME="$base" RABBITMQ_HOME_DIR="$base" RABBITMQ_CONF_ENV_FILE=/dev/null
    RABBITMQ_NODENAME=rejoin@localhost RABBITMQ_DIST_PORT="$DIST_PORT"
    ERL_EPMD_PORT="$EPMD_PORT" ERL_EPMD_ADDRESS=127.0.0.1
    RABBITMQ_MNESIA_BASE="$base/mnesia" RABBITMQ_LOG_BASE="$base/log" RABBITMQ_PID_FILE="$base/node.pid"
    RABBITMQ_CONFIG_FILE="$base/rabbitmq.conf" RABBITMQ_ADVANCED_CONFIG_FILE="$base/advanced.config"
    RABBITMQ_ENABLED_PLUGINS_FILE="$base/enabled_plugins"
    RABBITMQ_ALLOW_INPUT=yes RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-noinput -kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none")
}

# Whether an AMQP server answers the protocol header with a method frame (type 1: Connection.Start).
# The node opens its listener last, so from then on it serves.
amqp_answers() {
  local first
  first=$( (
    exec 3<>"/dev/tcp/127.0.0.1/$RABBIT_PORT" || exit 1
    printf 'AMQP\0\0\011\001' >&3
    timeout 2 head -c 1 <&3 | od -An -tu1
  ) 2>/dev/null) || return 1
  [ "${first//[[:space:]]/}" = 1 ]
}

rabbit_answers() { running_pid "$(rabbit_pid_file)" >/dev/null && amqp_answers; }

rabbit_create() {
  local base=$DATA/rabbitmq
  [ -d "$base/mnesia" ] || make_owned_dir rabbitmq "$base"
  mkdir -p "$base/mnesia" "$base/log"
  cat >"$base/rabbitmq.conf" <<CONF
listeners.tcp.1 = 127.0.0.1:$RABBIT_PORT
disk_free_limit.absolute = 50MB
CONF
  give_tls rabbitmq "$base/tls"
  [ ! -d "$base/tls" ] || cat >>"$base/rabbitmq.conf" <<CONF
listeners.ssl.1 = 127.0.0.1:$RABBIT_TLS_PORT
ssl_options.cacertfile = $base/tls/ca.pem
ssl_options.certfile = $base/tls/server.pem
ssl_options.keyfile = $base/tls/server.key
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
CONF
  echo '[].' >"$base/enabled_plugins"
  echo '[].' >"$base/advanced.config"
  own rabbitmq "$base" "$base"/*
}

epmd_launch() {
  running_pid "$(epmd_pid_file)" >/dev/null && return
  start_daemon "$(epmd_pid_file)" "$STATE/epmd.log" \
    "${AS_RABBITMQ[@]}" epmd -address 127.0.0.1 -port "$EPMD_PORT"
  wait_until 10 port_answers "$EPMD_PORT" || die "epmd does not start: $(tail -n 3 "$STATE/epmd.log")"
}

rabbit_launch() {
  rabbit_answers && return
  running_pid "$(rabbit_pid_file)" >/dev/null && return
  rabbit_create
  epmd_launch
  rabbit_env
  # Erlang sizes tables by the limit of open files, which containers often set to a thousand million.
  [ "$(ulimit -n)" != unlimited ] && [ "$(ulimit -n)" -le 65536 ] || ulimit -n 65536
  start_daemon "$(rabbit_pid_file)" "$STATE/rabbitmq.log" \
    "${AS_RABBITMQ[@]}" "${RABBIT_ENV[@]}" "$RABBIT_BIN/rabbitmq-server"
}

rabbit_ready_or_ended() { amqp_answers || has_ended "$(rabbit_pid_file)"; }

rabbit_await() {
  for _ in 1 2 3; do
    wait_until 90 rabbit_ready_or_ended || die "RabbitMQ does not answer: $(tail -n 5 "$STATE/rabbitmq.log")"
    has_ended "$(rabbit_pid_file)" || return 0
    end_process "$(epmd_pid_file)" 5 TERM KILL
    choose_rabbit_ports
    save_settings
    rabbit_launch
  done
  die "RabbitMQ does not start: $(tail -n 5 "$STATE/rabbitmq.log")"
}

# The node and what it started: they share the session that start_daemon made.
rabbit_session_signal() {
  local pid
  pid=$(running_pid "$(rabbit_pid_file)") || return 0
  kill "-$1" -- "-$pid" 2>/dev/null || true
}

rabbit_stop() {
  end_process "$(rabbit_pid_file)" 30 TERM || rabbit_kill
}

rabbit_kill() {
  rabbit_session_signal KILL
  end_process "$(rabbit_pid_file)" 10 KILL
}

rabbit_stop_all() {
  rabbit_stop
  end_process "$(epmd_pid_file)" 5 TERM KILL
}

rabbit_ctl() {
  rabbit_env
  (cd / && as_user rabbitmq "${RABBIT_ENV[@]}" "$RABBIT_BIN/rabbitmqctl" -n rejoin@localhost "$@")
}

# Erlang: the sum of what a clause makes of each queue Q. One that ends by itself at that moment counts for nothing.
rabbit_sum() { echo "lists:sum([case catch $1 of {ok, N} -> $2; _ -> 0 end || Q <- rabbit_amqqueue:list()])"; }

# Prints how much a blow struck. With a file, the node is told beforehand and strikes as soon as that is there, again and
# again until it has hit something: rabbitmqctl alone takes seconds to start.
rabbit_strike() {
  local blow=$1 file=${2:-}
  # Whoever wants to strike waits for FILE.armed: starting this tool may take longer than what it is to hit lasts.
  [ -z "$file" ] || blow="ok = file:write_file(\"$file.armed\", <<>>), (fun Try(0) -> 0; Try(Left) ->
      case filelib:is_file(\"$file\") andalso $blow of
        Hit when is_integer(Hit), Hit > 0 -> Hit;
        _ -> timer:sleep(5), Try(Left - 1)
      end
    end)(24000)"
  rabbit_ctl eval "$blow."
}

rabbit_command() {
  local verb=${1:-}
  shift || true
  case $verb in
    start) rabbit_launch && rabbit_await ;;
    stop) rabbit_stop ;;
    kill) rabbit_kill ;;
    freeze) rabbit_session_signal STOP ;;
    thaw) rabbit_session_signal CONT ;;
    purge-all) rabbit_strike "$(rabbit_sum 'rabbit_amqqueue:purge(Q)' N)" "$@" ;;
    delete-all) rabbit_strike "$(rabbit_sum 'rabbit_amqqueue:delete(Q, false, false, <<"services">>)' 1)" "$@" ;;
    close-all) rabbit_ctl close_all_connections 'closed by scripts/services' ;;
    alarm-on) rabbit_ctl set_vm_memory_high_watermark 0 ;;
    alarm-off) rabbit_ctl set_vm_memory_high_watermark 0.4 ;;
    ctl) rabbit_ctl "$@" ;;
    *) usage ;;
  esac
}
