#!/usr/bin/env bash
# A tagger of sounds in long recordings, such as birds at dawn: a list of what sings when.
# Usage: sound_tagger.sh LIST RECORDING PRETRAINED WORK [EPOCHS]
#   LIST is a CSV file: path,labels,start_s,end_s,site (several labels joined by ;, an empty cell is
#   an unlabelled stretch); the recordings of a site stay in one split. RECORDING is a new one to tag.
#   Where rows are events in whole recordings, add &rows=event to the corpus below.
set -euo pipefail
list=$1 recording=$2 pretrained=$3 work=$4 epochs=${5:-40}

# Windows of 2 s, every second; a site is either trained on or tested with.
corpus="csv:$list?task=multi&group=site&validation=0.2&test=0.2&window_s=2&overlap_s=1"
finetune-teacher "$corpus" --base "$pretrained" --pooling mean --out "$work/teacher"
precompute-teacher "$corpus" --teacher "$work/teacher" --out "$work/sounds.zarr"

train-student "$work/sounds.zarr" --student mobilenet --epochs "$epochs" --out "$work/tagger" \
  --distill logits=0.5
evaluate-student "$work/tagger" "$work/sounds.zarr" --report

# Every window of the new recording, half overlapping, as CSV.
predict-audio "$work/tagger" "$recording" --window-s 2 --overlap 0.5 --out "$work/tags.csv"
