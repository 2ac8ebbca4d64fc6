#!/usr/bin/env bash
# Sets up .venv and runs the whole test suite: style, types, unit tests, then those that launch processes.
#
#   bash test.sh            everything that CI runs (under 15 minutes on two cores)
#   bash test.sh --long     also the tests marked `long`
#   bash test.sh ARGS...    passed on to pytest
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./environment.sh
setup_environment dev

marks="not long"
if [ "${1:-}" = "--long" ]; then
    marks=""
    shift
fi
ruff check .
ruff format --check .
mypy uer_ds
python -m pytest -m "$marks" "$@"
