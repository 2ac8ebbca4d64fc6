# Sets up the virtual environment .venv; sourced by quickstart.sh and test.sh, safe to run again.
#
#   setup_environment EXTRAS    install uer_ds with these extras ("demo,hf"), exactly as constraints.txt says
#
#   PYTHON=python3.12           the Python to use (3.10 or newer)
#   UER_DS_SYSTEM_TORCH=1       reuse the torch (and whatever else) that this Python already has, as on a cluster
#
# Every problem ends in one sentence on stderr and exit status 1; pip's own words are in .venv/install.log.

stop() { echo "setup: $*" >&2; exit 1; }

setup_environment() {
    local extras="$1" python="${PYTHON:-python3}" system="" log=.venv/install.log stamp
    [ -n "${UER_DS_SYSTEM_TORCH:-}" ] && system="--system-site-packages"
    stamp=".venv/ready-$({ cat constraints.txt pyproject.toml environment.sh; "$python" --version; } 2>&1 | cksum | cut -d' ' -f1)$system"
    if [ ! -e "$stamp-${extras//,/-}" ] && [ ! -e "$stamp-dev" ]; then # dev has everything
        check_machine "$python"
        echo "setup: making .venv (once; a few minutes of downloads) ..."
        "$python" -m venv $system .venv || stop "$python cannot make a virtual environment; install its venv module (Debian: apt-get install python3-venv)."
        rm -f .venv/ready-* # what was installed for other versions of this clone
        install_packages "$extras" "$log"
        touch "$stamp-${extras//,/-}"
    fi
    # shellcheck disable=SC1091
    . .venv/bin/activate
}

check_machine() {
    command -v "$1" >/dev/null || stop "$1 is not installed; install Python 3.10 or newer, or set PYTHON to one."
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        stop "$1 is Python $("$1" -c 'import platform; print(platform.python_version())'); 3.10 or newer is needed: install one and set PYTHON to it."
    command -v c++ >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null ||
        stop "no C++ compiler; install one (Debian: apt-get install g++)."
    local free_mb
    free_mb=$(df -Pm . | awk 'NR == 2 { print $4 }')
    [ "$free_mb" -ge 4000 ] || stop "$free_mb MB are free here, about 4000 are needed; make room."
}

install_packages() {
    local extras="$1" log="$2"
    : >"$log"
    pip_install "$log" --upgrade pip
    # torch first and by its exact version: left to other packages, pip picks a newer one with gigabytes of CUDA libraries.
    if [ -z "${UER_DS_SYSTEM_TORCH:-}" ]; then
        pip_install "$log" --constraint constraints.txt "$(grep '^torch==' constraints.txt)"
        pip_install "$log" --constraint constraints.txt --editable ".[$extras]"
    else
        .venv/bin/python -c 'import torch' 2>>"$log" || stop "UER_DS_SYSTEM_TORCH is set, but this Python has no torch; unset it, or set PYTHON to one that has."
        grep -v '^torch==' constraints.txt >.venv/constraints.txt
        pip_install "$log" --constraint .venv/constraints.txt --editable ".[$extras]"
    fi
}

pip_install() {
    local log="$1"; shift
    .venv/bin/python -m pip install --disable-pip-version-check --quiet "$@" >>"$log" 2>&1 && return
    if grep -qiE 'No space left' "$log"; then stop "the disk is full; make room and run this again ($log)."; fi
    if grep -qiE 'NewConnectionError|Temporary failure in name|Network is unreachable|Connection refused|timed out' "$log"; then
        stop "the package index cannot be reached; check the network or pip's configuration and run this again ($log)."
    fi
    stop "pip could not install '$*': $(grep -iE '^ *error' "$log" | head -n 1 | cut -c1-200) ($log)."
}
