from remit.core.errors import RemitError


class ChannelError(RemitError):
    """The other end of the channel is gone."""


class ChildEndedError(RemitError):
    """The process ended or hung in the middle of a request, or could not be started. The next request gets a new one."""
