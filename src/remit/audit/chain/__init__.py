"""The hash chain of records, the signatures of its heads, and heads kept elsewhere."""
