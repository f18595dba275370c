"""What may be said of what was measured: statistics, validity, scalability, plans."""
