# Processes of a test server, for `swift` and `keystone`; sourced, never run. Wants DIR and here.

die() { echo "${0##*/}: $*" >&2; exit 1; }
environment=${ASHLAR_SWIFT_ENVIRONMENT:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/ashlar/swift}
export PYTHONWARNINGS=ignore PYTHONDONTWRITEBYTECODE=1

# The Python environment, made once for these pins.
need_environment() {
  local wanted program
  for program in python3 curl memcached; do
    command -v "$program" >/dev/null || die "$program is missing (Debian: apt-get install python3-venv curl memcached)"
  done
  wanted=$(sha256sum <"$here/requirements.txt" | cut -c1-16)
  mkdir -p "$(dirname "$environment")"
  exec 8>"$environment.lock"
  flock -w 600 8 || die "another is making $environment"
  if [ "$(cat "$environment/.pins" 2>/dev/null)" != "$wanted" ]; then
    rm -rf "$environment"
    python3 -m venv "$environment"
    # The pins are the whole closure: --no-deps keeps a newer index from adding to it.
    "$environment/bin/pip" install -q --disable-pip-version-check --no-input --no-deps -r "$here/requirements.txt"
    echo "$wanted" >"$environment/.pins"
  fi
  exec 8>&-
}

# DIR/run/NAME.pid holds a pid and its start time; both must match, so a pid that was given to another is never killed.
start_time() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }
pid_of() {
  local pid time
  [ -s "$DIR/run/$1.pid" ] || return 1
  read -r pid time <"$DIR/run/$1.pid"
  [ -n "$time" ] && [ "$(start_time "$pid")" = "$time" ] && ! grep -q '^State:.Z' "/proc/$pid/status" 2>/dev/null && echo "$pid"
}
alive() { pid_of "$1" >/dev/null; }

spawn() { # NAME COMMAND... : in a process group of its own, which ends with it
  local name=$1 pid
  shift
  alive "$name" && return 0
  setsid "$@" </dev/null >>"$DIR/log/$name.log" 2>&1 9>&- &
  pid=$!
  until [ -n "$(start_time $pid)" ]; do sleep 0.02; done
  echo "$pid $(start_time $pid)" >"$DIR/run/$name.pid"
  disown "$pid" 2>/dev/null || true
}

reap() { # NAME : asks it to end, and makes it after 8 s
  local pid i
  if pid=$(pid_of "$1"); then
    kill -CONT -- "-$pid" 2>/dev/null || true
    kill -TERM -- "-$pid" 2>/dev/null || true
    for ((i = 0; i < 80; i++)); do
      alive "$1" || break
      sleep 0.1
    done
    ! alive "$1" || kill -KILL -- "-$pid" 2>/dev/null || true
  fi
  rm -f "$DIR/run/$1.pid"
}

wait_for() { # NAME SECONDS URL : any answer counts
  local i
  for ((i = 0; i < $2 * 10; i++)); do
    curl -s -o /dev/null --max-time 2 "$3" && return 0
    alive "$1" || break
    sleep 0.1
  done
  tail -n 20 "$DIR/log/$1.log" >&2
  die "$1 does not answer at $3"
}

free_ports() { # COUNT : the first of so many in a row
  python3 - "$1" <<'P'
import random, socket, sys
for _ in range(1000):
    base, held = random.randrange(20000, 31000), []
    try:
        for port in range(base, base + int(sys.argv[1])):
            s = socket.socket()
            held.append(s)
            s.bind(("127.0.0.1", port))
    except OSError:
        continue
    finally:
        for s in held:
            s.close()
    print(base)
    break
P
}
