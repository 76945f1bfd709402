#!/usr/bin/env bash
#SBATCH --job-name=aftersound
#SBATCH --ntasks=8
#SBATCH --cpus-per-task=1
#SBATCH --mem-per-cpu=6G
#SBATCH --time=04:00:00
# Submit: sbatch dask_slurm.sh folder:/data/sounds /models/teacher /scratch/sounds.zarr
# One job with a Dask worker in each of its tasks; scheduler and command run beside the first. Corpus,
# teacher and cache lie where every node sees them, and so does the folder of the submission. Killed or
# out of time, it goes on where it was when it is submitted again. slurm_array.sh needs no Dask.
set -euo pipefail
corpus=$1 teacher=$2 out=$3
export OMP_NUM_THREADS=1
file=$PWD/dask-$SLURM_JOB_ID.json
dask scheduler --port 0 --no-dashboard --scheduler-file "$file" &
trap "kill $! 2>/dev/null || true; wait; rm -f '$file'" EXIT # workers end with their scheduler
srun dask worker --scheduler-file "$file" --nthreads 2 --memory-limit 0 --no-dashboard \
  --death-timeout 60 &
address=$(python - "$file" "$SLURM_NTASKS" <<'PYTHON'
import sys
from distributed import Client

with Client(scheduler_file=sys.argv[1], timeout="60s") as client:
    client.wait_for_workers(int(sys.argv[2]), timeout=300)
    print(client.scheduler.address)
PYTHON
)
precompute-teacher "$corpus" --teacher "$teacher" --out "$out" --scheduler "$address"
