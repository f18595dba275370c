"""The lab over Pyro4: remote objects.

Kind: direct; blocking; coupled in time (both sides must be up) and in space (the client holds a URI).
Broker: none; a name server knows the objects, n nodes share their state in Redis.
Load balancing: the master hands each client the node with the fewest assignments; it stays until it dies.
Delivery: at least once by repetition under the same operation id, effect exactly once.
Broadcast: subscribers are remote objects, called back with notify(insult).
Library: makes 93 % of the calls that carry a request in stock, 16 % in tuned (``lab library``).
"""
