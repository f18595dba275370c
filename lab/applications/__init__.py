"""What a node does with a request, whatever carried it."""
