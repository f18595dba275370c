"""``lab watch``: a page on this machine that shows a running system, and lets you play with it."""
