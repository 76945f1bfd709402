#!/usr/bin/env bash
# A keyword spotter from recordings of your own: one folder for each word, below one folder.
# Usage: keyword_spotter.sh RECORDINGS PRETRAINED WORK [EPOCHS]
#   PRETRAINED is a Hugging Face folder or hub id, such as openai/whisper-base.
set -euo pipefail
recordings=$1 pretrained=$2 work=$3 epochs=${4:-30}

# The large model learns your words.
finetune-teacher "folder:$recordings" --base "$pretrained" --pooling mean --out "$work/teacher"

# It runs once; what it finds is kept with the audio.
precompute-teacher "folder:$recordings" --teacher "$work/teacher" --out "$work/words.zarr" \
  --view shift --view gain --views 4
inspect-cache "$work/words.zarr" --verify

# A student for a phone learns from that alone, and another one without it, to compare.
train-student "$work/words.zarr" --student tc-resnet --epochs "$epochs" --out "$work/alone"
train-student "$work/words.zarr" --student tc-resnet --epochs "$epochs" --out "$work/distilled" \
  --distill temporal=0.25:sharpen=3 --distill logits=0.5:temperature=2
report-run "$work/distilled" "$work/alone" --cache "$work/words.zarr" --out "$work/report.html"

# A file for the phone, and what it makes of a recording.
export-student "$work/distilled" --to onnx --out "$work/phone" --calibrate "$work/words.zarr"
predict-audio "$work/phone" "$(find "$recordings" -type f | sort | head -n 1)"
