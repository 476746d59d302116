#!/usr/bin/env bash
# Generation and evaluation of every model of an evaluation folder (by default the current one).
# Takes the flags of python_pipeline.py: --seed 42 --num-gene 5000 --od-source test --force ...
set -euo pipefail
home="$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")"
python="$home/.venv/bin/python"
[ -x "$python" ] || python=python3
exec "$python" "$home/python_pipeline.py" "$@"
