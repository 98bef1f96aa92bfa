# What the scripts need on the machine: installed where that can be done, else named with how to get it.

have() { command -v "$1" >/dev/null 2>&1; }
have_venv() { python3 -c 'import ensurepip, venv' >/dev/null 2>&1; }

# need TEST PACKAGE WHAT-FOR [optional]: notes a package that is missing.
missing_packages=()
missing_required=()
need() {
  if ! eval "$1"; then
    echo "missing: $2 ($3)"
    missing_packages+=("$2")
    [ "${4:-}" = optional ] || missing_required+=("$2:$1")
  fi
}

# install_missing: true when all that is required is there afterwards.
install_missing() {
  [ "${#missing_packages[@]}" -eq 0 ] && return 0
  if [ "$(id -u)" -eq 0 ] && have apt-get; then
    echo "+ apt-get install ${missing_packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -y -qq --no-install-recommends "${missing_packages[@]}" >/dev/null 2>&1 ||
      { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing_packages[@]}" >/dev/null; } ||
      echo "apt-get could not install them"
  else
    echo "to get them: apt-get install ${missing_packages[*]}   (Debian, Ubuntu; as root)"
  fi
  local entry lacking=()
  for entry in "${missing_required[@]+"${missing_required[@]}"}"; do
    eval "${entry#*:}" || lacking+=("${entry%%:*}")
  done
  if [ "${#lacking[@]}" -gt 0 ]; then
    echo "still missing, and needed: ${lacking[*]}"
    return 1
  fi
}

need_rust() {
  # rustup puts cargo there, but not into the PATH of shells that are open or start without a profile.
  if ! have cargo && [ -x "${CARGO_HOME:-${HOME:-}/.cargo}/bin/cargo" ]; then
    PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
  fi
  if ! have cargo || ! cargo fmt --version >/dev/null 2>&1 || ! cargo clippy --version >/dev/null 2>&1; then
    echo "needed: Rust 1.95 or newer with rustfmt and clippy. With rustup: rustup toolchain install stable"
    return 1
  fi
}
