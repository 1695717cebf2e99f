from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Issuer:
    """An issuer of JWTs, as the file `identities` describes it."""

    name: str
    """The short name, in principals: `service:jwt/NAME/SUB`."""
    issuer: str
    """The claim `iss`, exactly."""
    audience: str
    """What the claim `aud` must contain."""
    algorithms: frozenset[str]
    """Asymmetric signature algorithms, such as `ES256`."""
    jwks_url: str = ""
    """Where the keys are fetched, by https. Exactly one of `jwks_url` and `jwks_file` is set."""
    jwks_file: Path | None = None
    ca: Path | None = None
    """PEM file: the authorities for `jwks_url`. None for those of the system."""
    skew_s: int = 30
    """How far the clocks of issuer and server may differ, in seconds; at most 60."""
    max_age_s: int = 3600
    """Longest lifetime of a token, in seconds."""
    require_bound: bool = False
    """Whether each token must be bound to the caller's certificate (`cnf.x5t#S256`, RFC 8705)."""
