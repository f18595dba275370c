"""Where time and memory go: resources by component, the anatomy of a request."""
