"""`remit serve` as it is beside a grpcio whose own parts are others: every call is answered by a thread."""

from remit.faces.cli.main import main
from remit.faces.rpc import prompt

prompt.supported = lambda: False
main()
