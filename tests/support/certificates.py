import datetime as dt
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import ExtensionOID, NameOID

from remit.client import MutualTls


@dataclass(frozen=True, slots=True)
class Authority:
    """Signs servers and callers, each into files of its own."""

    folder: Path
    ca: trustme.CA

    @property
    def certificate(self) -> Path:
        path = self.folder / "ca.pem"
        self.ca.cert_pem.write_to_path(path)
        return path

    def server_flags(self, cert: Path, key: Path) -> tuple[str, ...]:
        """What `serve` is given for mutual TLS."""
        return ("--tls-cert", str(cert), "--tls-key", str(key), "--tls-client-ca", str(self.certificate))

    def signed(self, name: str, *identities: str, common_name: str | None = None) -> tuple[Path, Path]:
        """Certificate and key with DNS names and addresses."""
        issued = self.ca.issue_cert(*identities, common_name=common_name)
        return self._written(name, b"".join(blob.bytes() for blob in issued.cert_chain_pems), issued.private_key_pem)

    def issued(
        self,
        name: str,
        alternatives: Sequence[x509.GeneralName] | bytes | None,
        common_names: Sequence[str] = (),
        organization: str = "Acme",
        lifetime_s: float = 86_400,
    ) -> tuple[Path, Path]:
        """Certificate and key with just these names, which trustme cannot issue: no alternative name at all where
        `alternatives` is None; bytes are that extension's own."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = dt.datetime.now(dt.UTC)
        subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)]
        with warnings.catch_warnings():
            # cryptography warns of lengths that no common name should have, which are what some tests are about.
            warnings.simplefilter("ignore", UserWarning)
            subject += [
                x509.NameAttribute(NameOID.COMMON_NAME, each, _type=_ASN1Type.UTF8String, _validate=False)
                for each in common_names
            ]
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(subject))
            .issuer_name(x509.load_pem_x509_certificate(self.ca.cert_pem.bytes()).subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(seconds=lifetime_s))
        )
        if isinstance(alternatives, bytes):
            raw = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, alternatives)
            builder = builder.add_extension(raw, critical=False)
        elif alternatives is not None:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        certificate = builder.sign(
            serialization.load_pem_private_key(self.ca.private_key_pem.bytes(), None),  # type: ignore[arg-type]
            hashes.SHA256(),
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return self._written(name, certificate.public_bytes(serialization.Encoding.PEM), trustme.Blob(private))

    def fingerprint(self, files: tuple[Path, Path]) -> str:
        """As the file `identities` names a certificate."""
        certificate = x509.load_pem_x509_certificate(files[0].read_bytes())
        return f"sha256:{certificate.fingerprint(hashes.SHA256()).hex()}"

    def caller(self, files: tuple[Path, Path]) -> MutualTls:
        return MutualTls(self.certificate, *files)

    def credentials(self, files: tuple[Path, Path]) -> grpc.ChannelCredentials:
        """Those of a channel that shows this certificate."""
        return credentials_of(self.caller(files))

    def _written(self, name: str, certificate: bytes, key: trustme.Blob) -> tuple[Path, Path]:
        paths = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        paths[0].write_bytes(certificate)
        key.write_to_path(paths[1])
        paths[1].chmod(0o600)
        return paths


def credentials_of(tls: MutualTls) -> grpc.ChannelCredentials:
    return tls.credentials(tls.read())
