from remit.core.errors import RemitError


class StartupError(RemitError):
    """The server refuses to start. The message says what is wrong and what to set."""
