from remit.service.auditor_rights import NotAnAuditorError, Rights, every_right, parse_auditors
from remit.service.callers import parse_operators
from remit.service.settings import Settings


class CallerRights:
    """What a caller may do, by the name in its certificate. Without mutual TLS every caller may do everything."""

    def __init__(self, settings: Settings) -> None:
        self._named = settings.mutual_tls is not None
        self._operators = parse_operators(settings.operators)
        self._auditors = parse_auditors(settings.auditors)

    def may_operate(self, caller: str) -> bool:
        """Whether this caller may change which revisions the node serves."""
        return not self._named or caller in self._operators

    def may_inspect(self, caller: str, tenant: str = "") -> bool:
        """Whether this caller may see diagnostics, causes of failures and paths of files of this tenant or of the node.

        Operators may see them, and so may auditors of that tenant.
        """
        rights = self._auditors.get(caller)
        return self.may_operate(caller) or (rights is not None and rights.may_read(tenant))

    def audit_rights(self, caller: str) -> Rights:
        """The tenants whose audit this caller may read. Raises NotAnAuditorError if there are none."""
        if not self._named:
            return every_right(caller)
        rights = self._auditors.get(caller)
        if rights is None:
            raise NotAnAuditorError(f"`{caller}` is not one of this server's `auditors`")
        return rights
