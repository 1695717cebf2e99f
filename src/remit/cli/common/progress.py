from rich.progress import Progress, ProgressColumn

from remit.cli.common.output import err


def progress(*columns: ProgressColumn) -> Progress:
    """Shows how far it is on a terminal, and nothing elsewhere: there it would leave an empty line."""
    return Progress(*columns, console=err, transient=True, disable=not err.is_terminal)
