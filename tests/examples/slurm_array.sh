#!/usr/bin/env bash
#SBATCH --job-name=aftersound
#SBATCH --array=1-8
#SBATCH --cpus-per-task=1
#SBATCH --mem=6G
#SBATCH --time=04:00:00
# Submit: sbatch slurm_array.sh folder:/data/sounds /models/teacher /scratch/sounds.zarr
# Each task computes every eighth work unit; the last to end seals the cache. Tasks may run in any
# order, at once or not. One that failed is submitted alone, with the number of all:
# SLICES=8 sbatch --array=3 slurm_array.sh ...
set -euo pipefail
corpus=$1 teacher=$2 out=$3
export OMP_NUM_THREADS=1
precompute-teacher "$corpus" --teacher "$teacher" --out "$out" \
  --slice "$SLURM_ARRAY_TASK_ID/${SLICES:-$SLURM_ARRAY_TASK_COUNT}"
