"""Server credentials that follow their PEM files."""

from typing import Any

import grpc

from remit.service.certificates import PemFiles, ServerCertificates


def reloading_credentials(certificates: ServerCertificates) -> grpc.ServerCredentials:
    """Credentials for one port: each new connection gets the newest certificates.

    Two ports must not share them: each has to hear of a change.
    """
    given = certificates.newest()

    # None for no change, which the stubs do not know.
    def newest() -> Any:
        nonlocal given
        found = certificates.newest()
        if found is given:
            return None
        given = found
        return _configuration(found)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(given), newest, require_client_authentication=given.client_ca is not None
    )


def _configuration(files: PemFiles) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(files.key, files.cert)], files.client_ca)
