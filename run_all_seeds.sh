#!/usr/bin/env bash
# Runs run_gene_eval_pipeline.sh for several seeds: --seeds "42 43 44" (the default), or
# --seeds 42,43,44; every other flag is passed on. A seed that fails does not stop the others.
# At the end the models are compared as groups over their training seeds, averaged over these seeds.
set -euo pipefail
home="$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")"
seeds="42 43 44"
flags=()
while [ $# -gt 0 ]; do
    case "$1" in
        --seeds)
            [ $# -gt 1 ] || { echo "error: --seeds needs a list like \"42 43 44\"." >&2; exit 2; }
            seeds="$2"
            shift 2
            ;;
        --seeds=*) seeds="${1#*=}"; shift ;;
        --seed | --seed=*)
            echo "error: give --seeds here; run_gene_eval_pipeline.sh takes one --seed." >&2
            exit 2
            ;;
        *) flags+=("$1"); shift ;;
    esac
done
failed=""
for seed in ${seeds//,/ }; do
    [[ "$seed" =~ ^[0-9]+$ ]] || { echo "error: the seed '$seed' is not a whole number." >&2; exit 2; }
done
for seed in ${seeds//,/ }; do
    echo "Seed $seed"
    code=0
    "$home/run_gene_eval_pipeline.sh" --seed "$seed" ${flags[@]+"${flags[@]}"} || code=$?
    [ "$code" -lt 128 ] || exit "$code" # interrupted: so are the rest
    [ "$code" -eq 0 ] || failed="$failed $seed"
done
if [ -n "$failed" ]; then
    echo "Failed seeds:$failed" >&2
    exit 1
fi
case " ${flags[*]-} " in
    *" --skip-eval "* | *" --skip_eval "*) exit 0 ;;
    *" --groups"*) ;;
    *) flags+=(--groups) ;;
esac
all=(${seeds//,/ })
echo "Groups over training seeds"
kept=() # what was just made is not made again
for flag in ${flags[@]+"${flags[@]}"}; do
    [ "$flag" = "--force" ] || kept+=("$flag")
done
"$home/run_gene_eval_pipeline.sh" --seed "${all[0]}" --seeds "${seeds// /,}" "${kept[@]}"
