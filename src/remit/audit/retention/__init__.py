"""Retention: how long records stay, and purges that delete whole prefixes of chains."""
