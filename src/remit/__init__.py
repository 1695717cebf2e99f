"""Policy-as-code authorization for software that is divided into tenants and namespaces."""
