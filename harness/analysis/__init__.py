"""What may be concluded from measurements: validity, verdicts, scalability, plans."""
