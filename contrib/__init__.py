"""Small complete examples of what can be added to the lab."""
