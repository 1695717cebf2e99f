from rich.progress import Progress, ProgressColumn

from remit.cli.common.output import err


def progress(*columns: ProgressColumn) -> Progress:
    """Shows progress on a terminal only: elsewhere it would print an empty line."""
    return Progress(*columns, console=err.rich, transient=True, disable=not err.rich.is_interactive)
