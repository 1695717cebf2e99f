from dataclasses import dataclass

from remit.core.names import Namespace
from remit.core.patterns import NamespacePattern


@dataclass(frozen=True, slots=True)
class NamespaceSet:
    """The namespaces that a pattern of `only` covers and no pattern of `excluded` covers."""

    only: tuple[NamespacePattern, ...] = ()
    excluded: tuple[NamespacePattern, ...] = ()

    def contains(self, namespace: Namespace) -> bool:
        return any(each.contains(namespace) for each in self.only) and not any(
            each.contains(namespace) for each in self.excluded
        )

    def __str__(self) -> str:
        only = ", ".join(map(str, self.only)) or "nowhere"
        return f"{only} except {', '.join(map(str, self.excluded))}" if self.excluded else only
