"""Scripts, styles and the icon. Their path names their content, so that browsers store them until they change."""

import os
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Final

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

_DIGITS: Final = 16
_FOR_EVER: Final = "public, max-age=31536000, immutable"


class StoredFiles(StaticFiles):
    def __init__(self) -> None:
        folder = Path(str(files("remit.console") / "static"))
        super().__init__(directory=folder)
        content = sha256()
        for file in sorted(folder.iterdir()):
            content.update(f"{file.name} {file.stat().st_size}\n".encode() + file.read_bytes())
        self.path = f"static/{content.hexdigest()[:_DIGITS]}"
        """Relative to the console's root."""

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        answer = super().file_response(full_path, stat_result, scope, status_code)
        answer.headers["cache-control"] = _FOR_EVER
        return answer
