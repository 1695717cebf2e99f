"""The tables of the audit store, the engines that open them, and their migrations."""
