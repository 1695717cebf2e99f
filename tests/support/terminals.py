from io import StringIO

from remit.cli.common import output


class FakeTerminal(type(output.out)):  # type: ignore[misc]
    """In the place of `output.out`: a terminal whose text can be read."""

    def __init__(self, width: int, color_system: str | None = None) -> None:
        super().__init__()
        self.shown = StringIO()
        self.rich = output.console(
            file=self.shown,
            force_terminal=True,
            color_system=color_system,
            width=width,
            soft_wrap=True,
            highlight=False,
        )

    @property
    def is_terminal(self) -> bool:
        return True

    def print(self, value: object = "", **options: object) -> None:
        self.rich.print(value, **options)
