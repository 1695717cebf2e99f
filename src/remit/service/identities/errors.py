"""Why a credential names no caller."""

from typing import Final

from remit.core.errors import RemitError

REFUSED: Final = "the credential was not accepted"
"""All that a caller learns of a refused credential: the log has the cause."""


class TokenRefusedError(Exception):
    """A token does not count. Its text tells a caller nothing."""

    def __init__(self, cause: str) -> None:
        super().__init__("the token is refused")
        self.cause = cause
        """For the log. It holds nothing of the token."""


class KeysAwayError(Exception):
    """A token cannot be verified now, because the server has no keys of its issuer."""

    def __init__(self, issuer: str) -> None:
        super().__init__("tokens of this issuer cannot be verified now")
        self.issuer = issuer
        """The issuer's short name. For the log."""


class CredentialRefusedError(RemitError):
    """The call has no credential that names a caller. The text is the same for all causes."""

    def __init__(self, cause: str) -> None:
        super().__init__(REFUSED)
        self.cause = cause
        """For the log only."""


class UnverifiedTokenError(RemitError):
    """The token must be verified first, which takes too long for the thread that receives calls."""
