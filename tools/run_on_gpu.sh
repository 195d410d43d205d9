#!/usr/bin/env bash
# What tools/on_gpu.sh prints the command for: bash .gpu/run.sh OUT [arguments of benchmarks/gpu.py]
# Installs the packed wheels into a folder of their own, runs the tests marked gpu, then benchmarks/gpu.py, within
# 8 minutes, and writes OUT/gpu.md: one table. Exits with 1 if a test failed or the benchmark did not end.
set -uo pipefail
packed=$(cd "$(dirname "$0")" && pwd)
out=${1:?usage: run.sh OUT [arguments of benchmarks/gpu.py]}
shift
mkdir -p "$out"
out=$(cd "$out" && pwd)
python=${PYTHON:-python3}

site=$packed/site
if ls "$packed"/wheels/*.whl > "$out/wheels.log" 2>&1; then
  rm -rf "$site"
  "$python" -m pip install --quiet --no-index --no-deps --no-compile --target "$site" "$packed"/wheels/*.whl \
    || exit 1
fi
export PYTHONPATH="$site:$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 ZOO_TEST_DATA="$packed/data"

# Only the files with such tests: the others import what the machine lacks.
tests=$(grep -rlE 'mark\.gpu\b' tests --include='test_*.py')
# shellcheck disable=SC2086
timeout 300 "$python" -m pytest -v -m gpu -p no:cacheprovider -p no:benchmark --timeout 90 --tb short \
  --junitxml="$out/tests.xml" $tests 2>&1 \
  | tee "$out/tests.log"
tested=${PIPESTATUS[0]}
timeout 150 "$python" benchmarks/gpu.py --photos "$packed/data/hymenoptera" "$@" 2>&1 | tee "$out/benchmark.log"
timed=${PIPESTATUS[0]}
"$python" - "$out" "$tested" "$timed" <<'P'
"""Write OUT/gpu.md: the machine, a row per test, the benchmark's own rows."""
import sys
from pathlib import Path
from xml.etree import ElementTree

import torch

out, tested, timed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
card = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no CUDA device"
lines = [f"{card}, torch {torch.__version__}", "", "| test | outcome | seconds |", "|---|---|---|"]
report = out / "tests.xml"
for case in ElementTree.parse(report).iter("testcase") if report.is_file() else ():
    bad = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
    lines.append(f"| {case.get('name')} | {bad[0] if bad else 'passed'} | {float(case.get('time', 0)):.1f} |")
if not report.is_file():
    lines.append(f"| (the tests did not end: exit code {tested}) | error | |")
lines += ["", "```", (out / "benchmark.log").read_text().rstrip(), "```"]
if timed:
    lines.append(f"The benchmark did not end: exit code {timed}.")
(out / "gpu.md").write_text("\n".join(lines) + "\n")
print(f"table: {out / 'gpu.md'}")
P
[ "$tested" -eq 0 ] && [ "$timed" -eq 0 ]
