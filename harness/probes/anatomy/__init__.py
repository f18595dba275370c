"""Where the CPU time of a request goes: components as the kernel counts them, parts by sampled stacks."""
