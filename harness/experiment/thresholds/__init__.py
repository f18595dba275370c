"""The performance bars: each measured against a reference in alternating windows of one run (`lab bench`)."""
