#!/usr/bin/env bash
# Sets up .venv and runs the whole test suite: style, types, unit tests, then those that launch processes.
#
#   bash test.sh            everything that CI runs (under 15 minutes on two cores)
#   bash test.sh --long     also the tests marked `long`
#   bash test.sh ARGS...    passed on to pytest; -n 0 runs one test after the other
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./environment.sh
setup_environment dev

# The interchange tests read and write with megatron-core's own code, which is no dependency of ours.
[ -d build/megatron ] || pip install --quiet --no-deps --target build/megatron "$(grep '^megatron-core==' constraints.txt)" ||
    echo "test.sh: megatron-core could not be installed; its interchange tests will be skipped" >&2

marks="not long"
if [ "${1:-}" = "--long" ]; then
    marks=""
    shift
fi
ruff check .
ruff format --check .
mypy uer_ds
# Two files at a time, since most tests wait or use one core; a file's tests share what it has launched.
python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "$marks" "$@"
