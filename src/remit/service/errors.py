from remit.core.errors import RemitError


class StartupError(RemitError):
    """The server refuses to start. The message says what is wrong and what to set."""


class PinError(RemitError):
    """There is nothing to pin or to unpin: the message says what is missing."""


class LoadingError(RemitError):
    """Another change is being recorded just now; the call may be tried again."""
