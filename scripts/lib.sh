# shellcheck shell=bash
# What quickstart, test, bench and .ci/run share: headings with times, what is missing, Debian packages, the Docker daemon.
# Sourced by scripts that have `set -euo pipefail` and stand in the project's folder; does nothing by itself.

readonly dockerd_log=${PGCLUSTERCTL_DOCKERD_LOG:-/var/log/dockerd.log}
# Set by start_docker when this process started a daemon that no service manager looks after.
dockerd_pid=

if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
  bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' plain=$'\e[0m'
else
  bold='' dim='' red='' plain=''
fi

# --- what happens, and how long it takes ----------------------------------------------------------

current_step=
step_started=0

# Ends the last step with its time and begins another.
step() {
  end_step
  current_step=$*
  step_started=$SECONDS
  printf '\n%s==> %s%s %s(after %d:%02d)%s\n' \
    "$bold" "$current_step" "$plain" "$dim" $((SECONDS / 60)) $((SECONDS % 60)) "$plain"
}

end_step() {
  if [[ -n $current_step ]]; then
    printf '%s    %s: %d s%s\n' "$dim" "$current_step" $((SECONDS - step_started)) "$plain"
  fi
  current_step=
}

note() {
  printf '    %s\n' "$@"
}

# First argument: what is wrong. The others: what to do about it.
fail() {
  printf '%serror%s: %s\n' "$red" "$plain" "$1" >&2
  shift
  if [[ $# -gt 0 ]]; then
    printf '  hint: %s\n' "$@" >&2
  fi
  exit 1
}

# --- what is there --------------------------------------------------------------------------------

have() {
  command -v "$1" > /dev/null 2>&1
}

is_root() {
  [[ $(id -u) -eq 0 ]]
}

# rustup leaves its folder to the login shell, and CI has none.
if ! have cargo && [[ -x ${CARGO_HOME:-$HOME/.cargo}/bin/cargo ]]; then
  PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
fi

require_rust() {
  local wanted found
  wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
  if ! have cargo || ! have rustc; then
    fail "Rust is missing (cargo, rustc $wanted or newer)" \
      "install it from https://rustup.rs; the packages of Debian and Ubuntu may be older than $wanted"
  fi
  found=$(rustc --version | cut -d ' ' -f 2)
  [[ $(printf '%s\n' "$wanted" "$found" | sort -V | head -n 1) == "$wanted" ]] \
    || fail "rustc $found is too old: $wanted or newer is needed" 'update it: rustup update stable'
}

# Names of Debian packages that bring what is missing, one per line. Arguments: pairs of what is needed and its package.
# What is needed is a command, a file (with a slash), or a library that pkg-config knows (`lib:NAME`).
missing_packages() {
  local need
  while [[ $# -gt 0 ]]; do
    need=$1
    case $need in
      lib:*) have pkg-config && pkg-config --exists "${need#lib:}" || echo "$2" ;;
      */*) [[ -e $need ]] || echo "$2" ;;
      *) have "$need" || echo "$2" ;;
    esac
    shift 2
  done
}

# Installs packages as root; otherwise, or where there is no apt, says exactly what is missing and ends.
install_packages() {
  [[ $# -gt 0 ]] || return 0
  have apt-get || fail "these Debian packages, or what corresponds to them here, are missing: $*"
  is_root || fail "these packages are missing: $*" "install them: sudo apt-get install $*" 'or run this script as root'
  note "installing: $*"
  DEBIAN_FRONTEND=noninteractive apt-get -qq update
  DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 install --no-install-recommends "$@" > /dev/null
}

# The packages of a Docker engine and its command; from Debian 13 on the command is a package of its own.
docker_packages() {
  echo docker.io
  # The daemon's rules for published ports; only recommended by docker.io in some releases.
  have iptables || echo iptables
  if ! have docker && is_root && have apt-get; then
    # A machine that was just installed may have no lists of packages yet.
    apt-cache show docker.io > /dev/null 2>&1 || apt-get -qq update
    if apt-cache show docker-cli > /dev/null 2>&1; then
      echo docker-cli
    fi
  fi
}

# --- Docker ---------------------------------------------------------------------------------------

docker_answers() {
  have docker && docker info > /dev/null 2>&1
}

# Sees to it that a Docker daemon answers: the one that runs, or one that is installed and started.
start_docker() {
  if docker_answers; then
    note "Docker $(docker version --format '{{.Server.Version}}') answers"
    return
  fi
  if [[ -n ${DOCKER_HOST:-} ]]; then
    fail "no Docker engine answers at DOCKER_HOST=$DOCKER_HOST" 'unset DOCKER_HOST to use the engine of this machine'
  fi
  if ! is_root; then
    if [[ -S /var/run/docker.sock ]]; then
      fail "Docker does not answer to $(id -un)" \
        "join the group that owns its socket, then log in again: sudo usermod -aG docker $(id -un)" 'or run this script as root'
    fi
    fail 'no Docker engine runs on this machine' \
      'Debian and Ubuntu: sudo apt-get install docker.io (and docker-cli where that is a package)' 'or run this script as root'
  fi
  if ! have dockerd || ! have docker; then
    local packages
    mapfile -t packages < <(docker_packages)
    install_packages "${packages[@]}"
  fi
  if [[ -d /run/systemd/system ]]; then
    note 'starting docker.service'
    systemctl start docker
  elif ! docker_answers; then
    note "starting dockerd (log: $dockerd_log)"
    # A session of its own: it outlives this script, and Ctrl-C does not reach it.
    setsid dockerd >> "$dockerd_log" 2>&1 < /dev/null &
    dockerd_pid=$!
  fi
  wait_for_docker
}

wait_for_docker() {
  local deadline=$((SECONDS + 60))
  until docker_answers; do
    if [[ -n $dockerd_pid ]] && ! kill -0 "$dockerd_pid" 2> /dev/null; then
      tail -n 15 "$dockerd_log" >&2
      fail "dockerd ended by itself; the last it said is above, all of it in $dockerd_log"
    fi
    ((SECONDS < deadline)) || fail 'Docker does not answer after 60 s' "look into $dockerd_log, or: journalctl -u docker"
    sleep 0.5
  done
  note "Docker $(docker version --format '{{.Server.Version}}') answers"
}

# Ends the daemon that start_docker started; a daemon that was there before, or that systemd looks after, is left alone.
stop_docker() {
  if [[ -n $dockerd_pid ]] && kill -0 "$dockerd_pid" 2> /dev/null; then
    note 'stopping the dockerd that this script started'
    kill -TERM "$dockerd_pid"
    wait "$dockerd_pid" || true
  fi
  dockerd_pid=
}

# --- Citus ----------------------------------------------------------------------------------------

# Name of the image that Citus is copied from.
citus_image() {
  if [[ -n ${CITUS_IMAGE:-} ]]; then
    echo "$CITUS_IMAGE"
  else
    sed -n 's/^ARG CITUS_IMAGE=//p' images/node/Dockerfile
  fi
}

# Whether that image is on this machine or can be pulled. A registry out of reach costs a minute, a slow one its time.
citus_available() {
  local image
  image=$(citus_image)
  docker image inspect "$image" > /dev/null 2>&1 && return
  note "$image is not on this machine; asking its registry"
  timeout 900 docker pull --quiet "$image" > /dev/null 2>&1
}
