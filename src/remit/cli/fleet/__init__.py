"""Commands about the policy store and the nodes that serve its releases."""
