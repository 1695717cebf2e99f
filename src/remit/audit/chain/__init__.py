"""The hash chain of records, the signatures under its heads, and heads kept elsewhere."""
