"""Grants and revokes at run time: requests, the gates before them, imports, and what others hear of them."""
