"""What the tuned programs over Redis are made of. The wire is that of docs/protocols.md."""
