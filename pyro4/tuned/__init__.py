"""What the tuned programs over Pyro4 are made of. Each module says which part of the library it replaces."""
