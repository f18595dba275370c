"""The simulator: the same policies on a simulated load, millions of events per second."""
