"""Several machines: on loopback, and as hosts of their own in network namespaces."""
