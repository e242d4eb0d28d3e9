#!/usr/bin/env bash
# Make the demo model again: images, training, bundle, scores. About two hours on two cores with bf16.
# Same versions, processor type and number of threads, same weights up to rounding.
#
#   make demo-model            or        training/demo_model.sh [FOLDER]
#
# HC18 (747 real fetal heads) is taken from $SAMEDGE_HC18, or from ../shared/hc18 if that is there.
# training/hc18.py says where to get it and which layouts it takes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
samedge=${SAMEDGE:-samedge}
python=${PYTHON:-python}
hc18=${SAMEDGE_HC18:-../shared/hc18}
out=${1:-demo-model}
if [ ! -d "$hc18" ]; then
    echo "There is no folder '$hc18' with HC18: set SAMEDGE_HC18. Get training_set.zip and" >&2
    echo "training_set_pixel_size_and_HC.csv from https://zenodo.org/records/1322001 (CC BY 4.0)" >&2
    echo "and unpack both into one folder." >&2
    exit 1
fi
mkdir -p "$out"

$samedge simulate -o "$out/sim" --sets Sim-Lesion,Sim-Chamber --train 12000 --val 200 --test 500 \
    --seed 1 --workers 2
$samedge simulate -o "$out/breast" --sets Sim-Breast --train 5000 --val 60 --test 300 --seed 3 \
    --workers 2
$samedge simulate -o "$out/head" --sets Sim-Head --train 1500 --val 20 --test 100 --seed 4 --workers 2
$python training/hc18.py "$hc18" "$out/hc18"
# First simulated lesions and chambers alone, then everything.
$samedge train "$out/sim" -o "$out/first" --recipe full --config training/samus-demo.json \
    --steps 4000 --warmup 300 --ema 0.998 --precision bf16-mixed --channels-last --save-every 100 \
    --seed 1 --workers 1
$samedge train "$out/sim" "$out/breast" "$out/head" "$out/hc18" --times 1,1,1,12 -o "$out/run" \
    --recipe full --init "$out/first/best.pth" --steps 3100 --batch 8 --lr 4e-4 --warmup 150 \
    --ema 0.998 --channels-last --save-every 100 --seed 1 --workers 1
# On a processor with bf16, or the bundle is never run in it.
$samedge export "$out/run/best.pth" -o "$out/samus-demo.samedge" --half-weights --zip

$samedge simulate -o "$out/physics" --physics --sets Sim-Lesion,Sim-Chamber --test 60 --seed 2 \
    --workers 2
for data in sim breast head hc18 physics; do
    $samedge eval "$out/run/best.pth" "$out/samus-demo.samedge" --precision fp32,bf16 \
        --data "$out/$data" --split test -o "$out/scores-$data"
done
$samedge eval "$out/samus-demo.samedge" --prompt box --data "$out/hc18" --split test -o "$out/boxes"
$python training/measure_hc18.py "$out/samus-demo.samedge" "$out/hc18"
