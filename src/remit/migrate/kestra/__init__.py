"""From Kestra's roles and bindings."""
