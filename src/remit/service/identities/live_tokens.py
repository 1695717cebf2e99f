from remit.service.identities.identities import Identities
from remit.service.identities.live import LiveIdentities
from remit.service.identities.tokens import TokenVerifier


class LiveTokens:
    """The verifier of JWTs, for the issuers that `identities` names now."""

    def __init__(self, identities: LiveIdentities) -> None:
        self._verifier = TokenVerifier(identities.current.issuers.values())
        identities.subscribe(self._replace)

    @property
    def verifier(self) -> TokenVerifier:
        return self._verifier

    def ages_s(self) -> dict[str, float]:
        """Time since the keys of each issuer were last known to be good, by the issuer's short name."""
        return self._verifier.ages_s()

    def close(self) -> None:
        self._verifier.close()

    def _replace(self, identities: Identities) -> None:
        self._verifier = self._verifier.replaced_by(identities.issuers.values())
