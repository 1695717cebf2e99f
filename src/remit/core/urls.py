"""URLs as they may stand in messages."""


def masked(url: str) -> str:
    """A URL without its password and without what stands behind `?`, where a password may stand too.

    What is no URL may be anything: nothing of it is shown.
    """
    scheme, found, rest = url.partition("://")
    if not found:
        return "***"
    place, asks, query = rest.partition("?")
    if "@" in query:
        # The `?` may be a password's.
        return f"{scheme}://***"
    # A path is no host's: that of a file may hold any character.
    owner, at, host = ("", "", place) if place.startswith("/") else place.rpartition("@")
    user, colon, _ = owner.partition(":")
    return f"{scheme}://{user}{colon and ':***'}{at}{host}{asks and '?***'}"
