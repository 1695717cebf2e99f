"""Commands about policy files: validate, test, lint, format, compare, import and export."""
