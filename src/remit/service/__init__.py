"""The decision point of a server process, and the components that it is made of.

It has many modules because each component stands alone: rights, metrics, disk space, sampling, retention.
"""
