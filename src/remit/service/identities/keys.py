"""The keys of one issuer of tokens. A thread of their own fetches them, never a caller's."""

import random
import time
from collections.abc import Callable
from threading import Event, Lock, Thread
from typing import Final

import structlog

from remit.service.file_stamps import FileStamps, file_stamps
from remit.service.identities.fetch import FetchError, check_url, fetch, read_file
from remit.service.identities.issuer import Issuer
from remit.service.identities.key_set import KeySetError, TokenKeySet, parse_key_set

REFRESH_S: Final = 300.0
_JITTER: Final = 0.1
_LOOK_S: Final = 1.0
"""How often the stamp of a file is compared."""
_FIRST_RETRY_S: Final = 5.0
WAKE_S: Final = 60.0
"""An unknown `kid` causes at most one fetch in this time."""
LIFETIME_S: Final = 24 * 3600.0
"""Keys count for this long after the last good answer."""
_WARN_S: Final = 60.0

_log = structlog.get_logger("remit")


class IssuerKeys:
    """The last good keys of an issuer, refreshed every 5 minutes, or when their file changes.

    A failed refresh keeps them, for 24 hours. An unknown `kid` never takes a key away.
    """

    def __init__(
        self,
        issuer: Issuer,
        *,
        clock_s: Callable[[], float] = time.monotonic,
        fetch_url: Callable[[], bytes] | None = None,
    ) -> None:
        """Reads keys in a file at once; keys behind a URL are away until the thread has fetched them.

        Raises ValueError if the issuer does not have either an https URL or a file. `clock_s` never goes back.
        """
        if bool(issuer.jwks_url) == (issuer.jwks_file is not None):
            raise ValueError(f"issuer `{issuer.name}`: expected either a URL or a file of keys")
        if issuer.jwks_url:
            check_url(issuer.jwks_url)
        self.source = source_of(issuer)
        self._name = issuer.name
        self._file = issuer.jwks_file
        self._fetch_url = fetch_url or (lambda: fetch(issuer.jwks_url, issuer.ca))
        self._clock_s = clock_s
        # The thread alone writes these.
        self._keys: TokenKeySet | None = None
        self._good_s = 0.0
        self._stamps: FileStamps = ()
        self._failures = 0
        self._warned_s = float("-inf")
        self._lock = Lock()
        self._next_wake_s = float("-inf")
        self._woken = Event()
        self._stopping = False
        self._thread = Thread(target=self._run, name=f"remit-keys-{issuer.name}", daemon=True)
        if self._file is not None:
            self.refresh()

    def begin(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Ends the thread. Does not wait for a fetch under way."""
        self._stopping = True
        self._woken.set()

    @property
    def current(self) -> TokenKeySet | None:
        """The keys that count now; None while there are none. The same object for as long as the keys are the same."""
        return self._keys if self._clock_s() - self._good_s < LIFETIME_S else None

    @property
    def age_s(self) -> float:
        """Time since the last good answer; infinite before the first."""
        return float("inf") if self._keys is None else self._clock_s() - self._good_s

    def wake(self) -> None:
        """Tells of an unknown `kid`: the thread fetches the keys soon, at most once in 60 s. Never waits."""
        if self._file is not None:
            return
        now_s = self._clock_s()
        with self._lock:
            if now_s < self._next_wake_s:
                return
            self._next_wake_s = now_s + WAKE_S
        self._woken.set()

    def refresh(self) -> float:
        """Reads the keys. Returns the time until the next refresh, in seconds. Only the thread calls it, and tests do."""
        try:
            if self._file is None:
                self._replace(parse_key_set(self._fetch_url()))
            elif (stamps := file_stamps([self._file])) != self._stamps or not all(stamps):
                # Bad content keeps the old stamp, so that the file is not taken for good at the next look.
                self._replace(parse_key_set(read_file(self._file)))
                self._stamps = stamps
        except (FetchError, KeySetError) as error:
            return self._failed(error)
        self._failures = 0
        self._good_s = self._clock_s()
        return _LOOK_S if self._file is not None else _jittered(REFRESH_S)

    def _replace(self, keys: TokenKeySet) -> None:
        if self._keys is None or self._keys.content != keys.content:
            self._keys = keys
            _log.info("keys of an issuer read", issuer=self._name, keys=len(keys.keys))

    def _failed(self, error: Exception) -> float:
        now_s = self._clock_s()
        if now_s - self._warned_s >= _WARN_S:
            self._warned_s = now_s
            _log.warning(
                "keys of an issuer not read",
                issuer=self._name,
                source=self.source[0],
                error=str(error),
                age_s=None if self._keys is None else round(self.age_s),
            )
        if self._file is not None:
            return _LOOK_S
        self._failures += 1
        return _jittered(min(_FIRST_RETRY_S * 2 ** min(self._failures - 1, 16), REFRESH_S))

    def _run(self) -> None:
        while not self._stopping:
            wait_s = self.refresh()
            self._woken.wait(wait_s)
            self._woken.clear()


def source_of(issuer: Issuer) -> tuple[str, str]:
    """Where the issuer's keys come from, and whom the server trusts to give them."""
    return issuer.jwks_url or str(issuer.jwks_file), str(issuer.ca or "")


def _jittered(time_s: float) -> float:
    return time_s * random.uniform(1 - _JITTER, 1 + _JITTER)
