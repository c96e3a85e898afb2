#!/bin/sh
# Writes the frames and the figures that the tests compare measurements with, in a locked environment.
# `run.sh --lock` locks it again. Needs uv.
set -eu
cd "$(dirname "$0")"
uv=${UV:-uv}
if [ "${1:-}" = --lock ]; then
	"$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--no-emit-index-url --no-emit-find-links --output-file requirements.lock requirements.in
fi
# NannyML and Evidently send nothing anywhere.
export NML_DISABLE_USAGE_LOGGING=1 DO_NOT_TRACK=1
"$uv" run --quiet --no-project --isolated --python 3.11 --with-requirements requirements.lock --with savvi==0.3.1 experiment.py
exec "$uv" run --quiet --no-project --isolated --python 3.11 --with-requirements requirements.lock reference.py
