#!/bin/bash
# Pre-training under mpirun, on one machine or many: one MPI process per rank, or one per node that starts its ranks.
#
#   launch/mpi/pretrain.sh -np 16 --hostfile hosts -- --recipe bert_large --dataset_path dataset --output_model_path output
#
# What stands before -- goes to mpirun, the rest to `uer-ds pretrain`. Rank, size and machine come from MPI's variables; over
# several machines the ranks learn through mpi4py (pip install mpi4py) where rank 0 listens. PYTHON chooses the Python.
# RETRIES=N starts it again after a lost rank, N times in a row without a new checkpoint at most (0: never); status 75 means
# saved on request: start it again.
set -u
python=${PYTHON:-python3}
clone=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export PYTHONPATH="$clone${PYTHONPATH:+:$PYTHONPATH}"

mpi=()
while [ $# -gt 0 ] && [ "$1" != "--" ]; do
    mpi+=("$1")
    shift
done
[ $# -gt 0 ] || { echo "usage: $0 MPIRUN-OPTIONS -- PRETRAIN-OPTIONS; found no --." >&2; exit 2; }
shift
# Open MPI hands no variables to other machines unless told; MPICH and Intel MPI hand on all.
case "$(mpirun --version 2>&1)" in *"Open MPI"* | *"OpenRTE"* | *PRRTE*) mpi+=(-x PYTHONPATH -x PATH) ;; esac

output=
for ((i = 1; i < $#; i++)); do
    next=$((i + 1))
    [ "${!i}" != "--output_model_path" ] || output=${!next}
done
newest() { find "$output" -maxdepth 1 -name 'checkpoint-*' 2>/dev/null | sort -V | tail -n 1; }

failed=0
while true; do
    before=$(newest)
    mpirun "${mpi[@]}" "$python" -u -m uer_ds pretrain "$@"
    status=$?
    case $status in 0 | 1 | 2 | 75 | 130) exit $status ;; esac
    [ "$(newest)" = "$before" ] || failed=0 # it came further
    failed=$((failed + 1))
    [ "$failed" -le "${RETRIES:-0}" ] || exit $status
    echo "$0: ended with status $status (69: a rank was lost); starting again, $failed of ${RETRIES}" >&2
done
