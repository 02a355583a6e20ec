#!/usr/bin/env bash
# An MLflow server with PostgreSQL behind it and files for artifacts, on this machine alone:
#   services/mlflow_server.sh start|status|stop
# Everything lies in MLFLOW_DATA (default: mlflow-server/ in the current folder); MLFLOW_PORT is
# 5000 unless given. Needs Debian's packages postgresql and curl, and no systemd. Root starts PostgreSQL as
# the user postgres, which must be able to enter MLFLOW_DATA; anyone else as themselves.
set -euo pipefail
umask 022

die() { echo "mlflow_server: $*" >&2; exit 2; }

[ $# -eq 1 ] || die "wanted one of start, status, stop"
DATA=$(realpath -m "${MLFLOW_DATA:-mlflow-server}")
PORT=${MLFLOW_PORT:-5000}
DATABASE=$DATA/postgres SOCKET=$DATA/socket PID=$DATA/mlflow.pid LOG=$DATA/mlflow.log
URL=http://127.0.0.1:$PORT
WAIT_S=300

[[ $DATA =~ ^[A-Za-z0-9_./-]+$ ]] || die "$DATA: MLFLOW_DATA may hold letters, digits and _./- only"
[ ${#SOCKET} -lt 85 ] || die "$DATA: too long a path for a socket; set MLFLOW_DATA to a shorter one"
[[ $PORT =~ ^[0-9]{1,5}$ ]] || die "MLFLOW_PORT is $PORT; wanted a number"

BIN=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
[ -x "$BIN/initdb" ] || die "no PostgreSQL found; install it: apt-get install -y postgresql"
OWNER=$([ "$(id -u)" -eq 0 ] && echo postgres || id -un)

as_owner() { # PostgreSQL refuses to run as root
  if [ "$(id -u)" -eq 0 ]; then (cd / && runuser -u postgres -- "$@"); else "$@"; fi
}
postgres_runs() { as_owner "$BIN/pg_ctl" -s -D "$DATABASE" status >/dev/null 2>&1; }
mlflow_runs() { # by pid, and only if that is still ours
  local pid
  [ -s "$PID" ] && pid=$(<"$PID") && grep -qaF -- "$SOCKET" "/proc/$pid/cmdline" 2>/dev/null
}
mlflow_answers() { curl -fs --max-time 5 -o /dev/null "$URL/health"; }
port_is_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; }
sql() { as_owner "$BIN/psql" -qtA -h "$SOCKET" -U mlflow -d "$1" -c "$2"; }

start_postgres() {
  if [ ! -s "$DATABASE/PG_VERSION" ]; then
    as_owner test -x "$DATA" || die "$DATA: the user $OWNER can't enter; set MLFLOW_DATA to a folder that everyone can"
    # Whoever can enter the socket's folder is let in, and only the owner and root can.
    install -d -m 700 -o "$OWNER" "$DATABASE" "$SOCKET"
    as_owner "$BIN/initdb" -D "$DATABASE" -U mlflow -A trust --encoding UTF8 --locale C.UTF-8 \
      >"$DATA/initdb.log" || die "initdb failed: $DATA/initdb.log"
  fi
  postgres_runs || as_owner "$BIN/pg_ctl" -s -w -t "$WAIT_S" -D "$DATABASE" \
    -l "$DATABASE/server.log" -o "-k $SOCKET -c listen_addresses=''" start ||
    die "PostgreSQL did not start: $DATABASE/server.log"
  [ "$(sql postgres "select 1 from pg_database where datname = 'mlflow'")" ] ||
    sql postgres "create database mlflow"
}

start_mlflow() {
  port_is_taken && die "port $PORT is taken by another program; set MLFLOW_PORT"
  mkdir -p "$DATA/artifacts"
  # A session of its own: it outlives this shell, and its workers are stopped with it.
  MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false \
    setsid mlflow server --host 127.0.0.1 --port "$PORT" --workers 2 \
    --backend-store-uri "postgresql://mlflow@/mlflow?host=$SOCKET" \
    --artifacts-destination "$DATA/artifacts" >"$LOG" 2>&1 </dev/null &
  echo $! >"$PID"
  local end=$((SECONDS + WAIT_S))
  until mlflow_answers; do
    if ! kill -0 "$!" 2>/dev/null || [ "$SECONDS" -ge "$end" ]; then
      tail -n 20 "$LOG" >&2
      die "MLflow did not start: $LOG"
    fi
    sleep 0.3
  done
}

stop_mlflow() {
  mlflow_runs || return 0
  local pid end=$((SECONDS + 30))
  pid=$(<"$PID")
  kill -TERM -- "-$pid" 2>/dev/null || true
  while kill -0 -- "-$pid" 2>/dev/null; do
    [ "$SECONDS" -lt "$end" ] || kill -KILL -- "-$pid" 2>/dev/null || true
    sleep 0.2
  done
  rm -f "$PID"
}

case "$1" in
  start)
    command -v mlflow >/dev/null || die "mlflow not found; \`make install\`, then make mlflow-server"
    mkdir -p "$DATA"
    start_postgres
    mlflow_runs || start_mlflow
    echo "MLflow at $URL, data in $DATA"
    echo "export MLFLOW_TRACKING_URI=$URL"
    ;;
  status)
    if postgres_runs && mlflow_runs && mlflow_answers; then
      echo "MLflow at $URL, data in $DATA"
    else
      echo "not running, data in $DATA"
      exit 1
    fi
    ;;
  stop)
    stop_mlflow
    ! postgres_runs || as_owner "$BIN/pg_ctl" -s -w -m fast -D "$DATABASE" stop
    echo "stopped, data in $DATA"
    ;;
  *) die "$1: wanted one of start, status, stop" ;;
esac
