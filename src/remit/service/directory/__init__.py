"""A policy directory as the source of a policy store: on one machine, the server itself publishes each good edit."""
