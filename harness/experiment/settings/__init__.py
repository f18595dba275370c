"""What each setting costs: one change at a time from the default, in alternating windows (`lab settings`)."""
