"""The experiments. Each yields its points as it measures them, so that nothing is lost when it is ended."""
