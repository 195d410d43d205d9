#!/usr/bin/env bash
# Prepares the tests and the benchmark of the GPU for a machine with CUDA and no network, and prints the one
# command to run there, in a copy of this checkout that includes the folder .gpu:
#
#     tools/on_gpu.sh [--python 3.12] [--data FOLDER] [--into .gpu] [--no-wheels]
#
# The machine is expected to have torch, torchvision, numpy, scipy, scikit-learn and pillow for the Python named,
# as images with CUDA do. Everything else that the tests import comes along: wheels (no gensim, no polars: the
# vectors are packed in a format that needs neither), photographs made smaller, weights, words and texts from
# --data (../shared/data by default). The folder and the checkout stay below 60 MiB; git ignores it.
set -euo pipefail
cd "$(dirname "$0")/.."

python=3.12 data=../shared/data into=.gpu wheels=yes
while [ $# -gt 0 ]; do
  case "$1" in
    --python) python=$2; shift 2 ;;
    --data) data=$2; shift 2 ;;
    --into) into=$2; shift 2 ;;
    --no-wheels) wheels=no; shift ;;
    *) echo "usage: tools/on_gpu.sh [--python 3.12] [--data FOLDER] [--into .gpu] [--no-wheels]" >&2; exit 2 ;;
  esac
done
own=${OWN_PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}

needs="click msgspec platformdirs filelock pyyaml safetensors tokenizers timm threadpoolctl rich markdown-it-py
mdurl pygments pytest pytest-timeout pluggy iniconfig packaging hypothesis sortedcontainers attrs optuna alembic
colorlog sqlalchemy mako greenlet tqdm"

mkdir -p "$into"
"$own" tools/pack_gpu_data.py "$data" "$into/data"
cp tools/run_on_gpu.sh "$into/run.sh"
rm -rf "$into/wheels"
mkdir -p "$into/wheels"
if [ "$wheels" = yes ]; then
  platforms=$(for glibc in 2014 _2_17 _2_28 _2_34 1; do echo "--platform manylinux${glibc}_x86_64"; done)
  # shellcheck disable=SC2086
  "$own" -m pip download -qq --no-deps --only-binary=:all: --implementation cp --python-version "$python" \
    $platforms --dest "$into/wheels" $needs
fi

packed=$(du -sk "$into" | cut -f1)
tracked=$(git ls-files -z | xargs -0 du -ck | tail -n 1 | cut -f1)
echo "packed $((packed / 1024)) MiB into $into; $(((packed + tracked) / 1024)) MiB with the checkout"
if [ $((packed + tracked)) -gt $((60 * 1024)) ]; then
  echo "more than 60 MiB: give --data a smaller folder" >&2
  exit 1
fi
echo "run there, in the checkout (at most 8 minutes; the table is $into/out/gpu.md):"
echo
echo "    bash $into/run.sh $into/out"
