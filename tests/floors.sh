#!/bin/sh
# Install the lowest versions that pyproject.toml declares, and run the README's first command with them.
# Needs the network, and about 10 GB of disk while it runs (torch brings its CUDA libraries); everything is removed
# at the end. Usage: sh tests/floors.sh [FOLDER for the environment]
set -eu

checkout=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d "${1:-${TMPDIR:-/tmp}}/floors.XXXXXX")
trap 'rm -rf "$work"' EXIT
export UV_CACHE_DIR="$work/cache" XDG_CACHE_HOME="$work/cache" COMPBENCH_RUNS="$work/runs"
unset PYTHONPATH  # the installed package is tried, not the checkout

"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet uv
"$work/venv/bin/uv" pip install --python "$work/venv/bin/python" --resolution lowest-direct "$checkout"
cd "$work"  # so that the checkout's packages are not found by accident

compbench="$work/venv/bin/compbench"
"$compbench" run shapes --model tiny-sd --model tiny-clip --model chance --limit 6
"$compbench" compare shapes/tiny-sd shapes/tiny-clip > /dev/null
"$compbench" curves shapes/tiny-sd > /dev/null
"$compbench" report shapes/tiny-sd shapes/tiny-clip --output report.html
"$compbench" run digits --model tiny-dit --model logistic-regression --limit 4

# a usage error is one line and exit code 2, from click's own parser as from ours
for wrong in "run --modell" "run shapes --limit none" "run shapes --model tiny-ssd" "runn"; do
    code=0
    # shellcheck disable=SC2086  # the words are meant to be split
    "$compbench" $wrong 2> wrong.txt || code=$?
    if [ "$code" -ne 2 ] || [ "$(wc -l < wrong.txt)" -ne 1 ]; then
        echo "compbench $wrong: exit code $code, expected 2 and one line" >&2
        cat wrong.txt >&2
        exit 1
    fi
done
echo "the declared floors work"
