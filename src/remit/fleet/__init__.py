"""A fleet: nodes that serve the releases of one policy store.

It has many modules, because each is about one table of the store or one file of a node, and all follow one history.
"""
