def masked(url: str) -> str:
    """A URL without its password and without the part after `?`, which may contain a password too.

    Shows nothing of a text that is not a URL.
    """
    scheme, found, rest = url.partition("://")
    if not found:
        return "***"
    place, asks, query = rest.partition("?")
    if "@" in query:
        # The `?` may be part of a password.
        return f"{scheme}://***"
    # A path has no host: a file's path may contain any character.
    owner, at, host = ("", "", place) if place.startswith("/") else place.rpartition("@")
    user, colon, _ = owner.partition(":")
    return f"{scheme}://{user}{colon and ':***'}{at}{host}{asks and '?***'}"
