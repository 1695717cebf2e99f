class ExportError(Exception):
    """An export cannot be written, or is not one; the text names the file and what is wrong."""


class MissingError(ExportError):
    """A record that the chain must have is not where it was looked for."""
