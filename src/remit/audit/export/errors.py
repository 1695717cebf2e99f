class ExportError(Exception):
    """An export cannot be written, or is not one; the text names the file and what is wrong."""


class MissingError(ExportError):
    """A record that the chain must have is not where it was looked for."""


class NoExportError(ExportError):
    """There is no such file, or no proof beside it: nothing can be verified."""


class OtherExportError(ExportError):
    """The file is not one of those that the proof describes."""
