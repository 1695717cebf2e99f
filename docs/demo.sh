#!/bin/sh
# Serves the example company on free ports, asks it questions over gRPC, shows what was recorded, and stops.
set -eu

mkdir -p var
log=var/demo.log
audit="sqlite:///var/demo.db"
remit serve --policies policies --listen 127.0.0.1:0 --metrics "" --audit "$audit" 2>"$log" &
server=$!
trap 'kill "$server" 2>/dev/null || true' EXIT

port=
until [ -n "$port" ]; do
  kill -0 "$server" 2>/dev/null || { cat "$log"; exit 1; }
  port=$(sed -n 's/.*"port": \([0-9]*\).*/\1/p' "$log")
  sleep 0.1
done

show() {
  printf '\n$ %s\n' "$*"
  # A deny exits 1 and is an answer all the same.
  "$@" || [ $? -eq 1 ]
}

show remit status --target "127.0.0.1:$port"
show remit check acme user:bob UPDATE FLOW acme.finance.reports --target "127.0.0.1:$port"
show remit check acme user:bob UPDATE FLOW acme.data.reporting --target "127.0.0.1:$port"
show remit explain acme user:grace RESTART EXECUTION acme.finance.payroll --target "127.0.0.1:$port"
show remit audit list --limit 3 --audit "$audit"

kill "$server"
wait "$server"
trap - EXIT
printf '\nThe server drained its audit journal and stopped. `make serve` starts one that stays.\n'
