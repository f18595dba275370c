"""The commands of the lab, a module each with ``main(argv) -> int``."""
