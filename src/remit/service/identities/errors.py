"""Why a token names no caller."""


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
