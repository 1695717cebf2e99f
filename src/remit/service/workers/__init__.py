"""Several server processes on one address under a supervisor."""
