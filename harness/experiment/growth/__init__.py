"""What a request, or a tick, costs as there is more of everything: a curve for each thing that can grow."""
