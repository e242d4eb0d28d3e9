#!/usr/bin/env bash
# Make the demo model again: simulated images, training, bundle, scores. About an hour and a quarter on
# two cores with bf16. Same versions and processor type, same weights.
#
#   make demo-model            or        training/demo_model.sh [FOLDER]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
samedge=${SAMEDGE:-samedge}
out=${1:-demo-model}
mkdir -p "$out"

$samedge simulate -o "$out/sim" --train 16000 --val 200 --test 500 --seed 1 --workers 2
$samedge train "$out/sim" -o "$out/run" --recipe full --config training/samus-demo.json \
    --steps 4000 --warmup 300 --ema 0.998 --precision bf16-mixed --channels-last \
    --save-every 200 --seed 1
$samedge export "$out/run/best.pth" -o "$out/samus-demo.samedge" --half-weights --zip

$samedge simulate -o "$out/physics" --physics --test 60 --seed 2 --workers 2
for data in sim physics; do
    $samedge eval "$out/run/best.pth" "$out/samus-demo.samedge" --precision fp32,bf16 \
        --data "$out/$data" --split test -o "$out/scores-$data"
done
