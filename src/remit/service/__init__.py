"""The decision point of a server process, and the components around it.

The folder has many modules because each component stands alone: rights, metrics, disk space, sampling, retention.
"""
