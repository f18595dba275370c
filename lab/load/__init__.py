"""Load: what is sent, and when. Used by publishers and by the harness."""
