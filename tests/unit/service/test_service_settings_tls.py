"""Which settings of TLS go together."""

import pytest

from remit.service.errors import StartupError
from remit.service.settings_reader import read_settings

CERT = {"tls_cert": "cert.pem", "tls_key": "key.pem"}
MUTUAL = {**CERT, "tls_client_ca": "ca.pem"}
TOKENS = {**CERT, "identities": "identities.yaml"}
ELSEWHERE = "192.0.2.1:9090"


@pytest.mark.parametrize("tls", [{}, MUTUAL, TOKENS, {**MUTUAL, **TOKENS}, {"identities": "identities.yaml"}])
def test_on_loopback_tls_is_a_choice(tls: dict[str, str]) -> None:
    assert ("tls_cert" in tls, "tls_client_ca" in tls) == (
        read_settings(tls).tls is not None,
        read_settings(tls).mutual_tls is not None,
    )


@pytest.mark.parametrize("tls", [MUTUAL, TOKENS])
def test_other_addresses_need_certificates_or_tokens(tls: dict[str, str]) -> None:
    assert read_settings({**tls, "listen": ELSEWHERE, "operators": "service:a"}).listen == ELSEWHERE


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"listen": "unix:/run/remit.sock"}, "expected `HOST:PORT`"),
        ({"listen": ELSEWHERE}, "`listen` is `192.0.2.1:9090`"),
        ({"listen": ELSEWHERE, "identities": "identities.yaml"}, "set `tls_cert`, `tls_key`, `tls_client_ca`"),
        ({**TOKENS, "metrics": ELSEWHERE}, "`metrics` is `192.0.2.1:9090`.* set `tls_client_ca`"),
        (CERT, "set `tls_client_ca`"),
        ({"tls_client_ca": "ca.pem"}, "set `tls_cert`, `tls_key`"),
        ({"tls_client_ca": "ca.pem", "identities": "identities.yaml"}, "set `tls_cert`, `tls_key`"),
        ({"tls_cert": "cert.pem", "identities": "identities.yaml"}, "set `tls_key`"),
        ({"operators": "service:a"}, "without TLS every caller may pin"),
        ({"connection_max_age_s": "0"}, "connection_max_age_s"),
    ],
)
def test_half_of_tls_is_refused(flags: dict[str, str], told: str) -> None:
    with pytest.raises(StartupError, match=told):
        read_settings(flags)
