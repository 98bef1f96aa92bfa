#!/bin/bash
# Makes the Python environment in which oracle.py runs Cinder's own backup drivers.
#   setup.sh [29|22] [DIR]        then: DIR/bin/python oracle.py ...
# DIR is by default what CINDER29_VENV or CINDER22_VENV names, else ${XDG_CACHE_HOME:-~/.cache}/ashlar/cinder-<release>.
# A second run with the same pins does nothing. PYTHON names the interpreter to use (3.11 or newer); without it the first that fits is taken.
set -euo pipefail

release=${1:-29}
here=$(cd "$(dirname "$0")" && pwd)
named=CINDER${release}_VENV
dir=${2:-${!named:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/ashlar/cinder-$release}}
pins=$here/requirements-cinder$release.txt
if [ ! -f "$pins" ]; then
  echo "setup.sh: no pinned requirements for Cinder $release (there are: 29, 22)" >&2
  exit 2
fi

fits() {
  "$1" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

python=${PYTHON:-}
if [ -z "$python" ]; then
  for candidate in python3 python3.11 python3.12 python3.13 /usr/bin/python3; do
    if fits "$candidate"; then python=$candidate; break; fi
  done
fi
if [ -z "$python" ]; then
  echo "setup.sh: needs Python 3.11, 3.12 or 3.13 with the modules venv and ensurepip" >&2
  echo "setup.sh: on Debian and Ubuntu: apt-get install python3 python3-venv; or name one by PYTHON=" >&2
  exit 1
fi

# Two runs of the tests side by side must not make it twice at once.
mkdir -p "$(dirname "$dir")"
exec 9>"$dir.lock"
if command -v flock >/dev/null; then flock 9; fi

wanted=$({ sha256sum < "$pins"; "$python" -c 'import sys; print(sys.version_info[:2])'; } | sha256sum | cut -c1-16)
if [ "$(cat "$dir/.pins" 2>/dev/null || true)" != "$wanted" ]; then
  rm -rf "$dir"
  "$python" -m venv "$dir"
  # The pins are the whole closure: --no-deps keeps a newer index from adding to it.
  "$dir/bin/pip" -q install --disable-pip-version-check --no-input --no-deps -r "$pins"
  echo "$wanted" > "$dir/.pins"
fi
# Ceph's bindings come with the distribution, where python3-rados and python3-rbd are there; --driver ceph needs them.
site=$("$dir/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
suffix=$("$dir/bin/python" -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')
for module in rados rbd; do
  for place in /usr/lib/python3/dist-packages /usr/lib64/python3*/site-packages; do
    [ ! -f "$place/$module$suffix" ] || ln -sf "$place/$module$suffix" "$site/"
  done
done
"$dir/bin/python" "$here/oracle.py" version
