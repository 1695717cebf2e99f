"""How long records stay, and how whole prefixes of chains are deleted."""
