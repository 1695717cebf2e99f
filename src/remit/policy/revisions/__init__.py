"""Revisions that loaded, stored on disk to be restored, pinned and explained."""
