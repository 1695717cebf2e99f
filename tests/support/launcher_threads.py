"""`remit serve` as it is beside a grpcio whose own parts are others: every call is answered by a thread."""

from remit.cli.main import main
from remit.rpc import inline_calls

inline_calls.supported = lambda: False
main()
