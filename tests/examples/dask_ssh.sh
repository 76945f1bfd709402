#!/usr/bin/env bash
# bash dask_ssh.sh folder:/data/sounds /models/teacher /shared/sounds.zarr HOST...
# Workers on other machines by SSH; scheduler and command run here. Every machine sees corpus, teacher
# and cache at the same paths, and lets in without a password. What may be set:
#   HERE     name of this machine as the others reach it
#   PORT     of the scheduler, 8786
#   WORKERS  processes a machine, 1
#   DASK     the command there, for example /opt/aftersound/bin/dask
# A Dask scheduler does what anyone who reaches its port requests: for trusted networks alone.
set -euo pipefail
corpus=$1 teacher=$2 out=$3
shift 3
workers=${WORKERS:-1}
address=tcp://${HERE:-$(hostname -f)}:${PORT:-8786}
export OMP_NUM_THREADS=1
dask scheduler --host "$address" --no-dashboard &
trap "kill $! 2>/dev/null || true; wait" EXIT # workers end with their scheduler, or a minute after it
for host; do
  ssh -o BatchMode=yes "$host" "OMP_NUM_THREADS=1 ${DASK:-dask} worker $address --nworkers $workers \
    --nthreads 2 --memory-limit 0 --no-dashboard --death-timeout 60" &
done
python - "$address" "$((workers * $#))" <<'PYTHON'
import sys
from distributed import Client

with Client(sys.argv[1], timeout="60s") as client:
    client.wait_for_workers(int(sys.argv[2]), timeout=300)
PYTHON
precompute-teacher "$corpus" --teacher "$teacher" --out "$out" --scheduler "$address"
