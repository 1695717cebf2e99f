"""For other services: ask remit, and fail closed."""

from remit.client.answers import Answer, Asked
from remit.client.errors import AccessDenied, DecisionUnavailable
from remit.client.sync import Client
from remit.client.tls import MutualTls

__all__ = ["AccessDenied", "Answer", "Asked", "Client", "DecisionUnavailable", "MutualTls"]
