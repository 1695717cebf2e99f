# ruff: noqa: INP001 (it is no module of a package)

"""Exits with 0 if the server in this container is ready: the health check of the Containerfile.

The address is the setting `metrics`, of REMIT_METRICS or of the file that REMIT_CONFIG names; a flag is not seen.
Kubernetes probes the paths itself.
"""

import os
import ssl
import sys
import tomllib
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Final

PATH: Final = "/readyz"
TIMEOUT_S: Final = 2.0


def address() -> str:
    text = os.environ.get("REMIT_METRICS", "")
    if not text and "REMIT_CONFIG" in os.environ:
        text = str(tomllib.loads(Path(os.environ["REMIT_CONFIG"]).read_text()).get("metrics", ""))
    host, _, port = (text or "127.0.0.1:9464").rpartition(":")
    return f"{'127.0.0.1' if host in {'', '0.0.0.0', '[::]'} else host}:{port}"  # noqa: S104 (compared, not bound)


def main() -> int:
    # The certificate names the service and not this address, and the answer is no secret.
    unverified = ssl.create_default_context()
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    # No proxy of the environment.
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=unverified)
    )
    failed = ""
    for scheme in ("https", "http"):
        try:
            with opener.open(f"{scheme}://{address()}{PATH}", timeout=TIMEOUT_S) as answer:
                sys.stdout.write(answer.read().decode())
                return 0
        except urllib.error.HTTPError as refused:
            with refused:
                sys.stdout.write(refused.read().decode())
            return 1
        except (OSError, HTTPException) as error:
            failed = f"{error}\n"
    sys.stdout.write(failed)
    return 1


if __name__ == "__main__":
    sys.exit(main())
