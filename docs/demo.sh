#!/bin/sh
# Serves the example company on free ports, asks it questions over gRPC, shows what was recorded, and stops. Then serves
# it by mutual TLS, where callers have names, and shows a caller that is refused.
set -eu

mkdir -p var
log=var/demo.log
audit="sqlite:///var/demo.db"
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true' EXIT

# Starts a server with these flags, and sets `target`.
start() {
  # Emptied here, not by the server's shell, which may begin after the log is first read.
  : >"$log"
  remit serve --listen 127.0.0.1:0 --metrics "" --http "" --audit "$audit" "$@" 2>>"$log" &
  server=$!
  port=
  until [ -n "$port" ]; do
    kill -0 "$server" 2>/dev/null || { cat "$log"; exit 1; }
    port=$(sed -n 's/.*"port": \([0-9]*\).*/\1/p' "$log")
    sleep 0.1
  done
  target="127.0.0.1:$port"
}

stop() {
  kill "$server"
  wait "$server"
  server=
}

show() {
  printf '\n$ %s\n' "$*"
  # A deny exits 1 and a refused call 3: both are shown on purpose.
  "$@" 2>&1 || case $? in 1 | 3) ;; *) exit 1 ;; esac
}

start --policies policies
show remit status --target "$target"
show remit check acme user:bob UPDATE FLOW acme.finance.reports --target "$target"
show remit check acme user:bob UPDATE FLOW acme.data.reporting --target "$target"
show remit explain acme user:grace RESTART EXECUTION acme.finance.payroll --target "$target"
show remit audit list --limit 3 --audit "$audit"
stop

# An authority that signs two certificates: the server's, and the one of a shop that may ask about acme.
rm -rf var/demo-tls var/demo-policies
mkdir -m 700 var/demo-tls
python - var/demo-tls <<'PYTHON'
import datetime
import ipaddress
import os
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

os.umask(0o077)
os.chdir(sys.argv[1])
now = datetime.datetime.now(datetime.timezone.utc)
authority_key, authority = ec.generate_private_key(ec.SECP256R1()), x509.Name(
    [x509.NameAttribute(x509.NameOID.COMMON_NAME, "demo authority")]
)


def write(name, key, subject, extension):
    made = x509.CertificateBuilder(authority, subject, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now).not_valid_after(now + datetime.timedelta(hours=1))
    certificate = made.add_extension(extension, critical=True).sign(authority_key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    open(f"{name}.pem", "wb").write(certificate.public_bytes(pem))
    open(f"{name}.key", "wb").write(key.private_bytes(pem, *plain))


write("ca", authority_key, authority, x509.BasicConstraints(ca=True, path_length=0))
for name, known_as in (
    ("server", x509.IPAddress(ipaddress.ip_address("127.0.0.1"))),
    ("shop", x509.DNSName("shop.acme.example")),
):
    key = ec.generate_private_key(ec.SECP256R1())
    write(name, key, x509.Name([]), x509.SubjectAlternativeName([known_as]))
PYTHON
cp -r policies var/demo-policies
echo 'g, service:dns/shop.acme.example, role:enforcer, _callers/acme' >>var/demo-policies/_callers/bindings.csv

start --policies var/demo-policies --tls-cert var/demo-tls/server.pem --tls-key var/demo-tls/server.key \
  --tls-client-ca var/demo-tls/ca.pem
shop="--tls-server-ca var/demo-tls/ca.pem --tls-cert var/demo-tls/shop.pem --tls-key var/demo-tls/shop.key"
# shellcheck disable=SC2086
show remit check acme user:bob UPDATE FLOW acme.finance.reports --target "$target" $shop
# shellcheck disable=SC2086
show remit check globex user:rosa VIEW FLOW shop.orders --target "$target" $shop
show remit explain _callers service:dns/shop.acme.example CHECK REMIT globex --policies var/demo-policies
stop

printf '\nBoth servers drained their audit journal and stopped. `make serve` starts one that stays, and its console\nfor browsers at http://127.0.0.1:9095/\n'
