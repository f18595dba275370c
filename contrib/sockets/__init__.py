"""The lab over plain sockets: JSON behind its length. ``LAB_MIDDLEWARES=contrib.sockets`` adds it.

Kind: direct; blocking; coupled in time (both sides must be up) and in space (the client knows the node).
Broker: none; n nodes share their state in Redis, and a master knows which of them live.
Load balancing: the master hands each client a node, in turn; the client stays with it until it dies.
Delivery: at least once by repetition under the same operation id, effect exactly once.
Broadcast: subscribers are servers of the same wire, called back with notify; one of the nodes broadcasts.
"""

from lab.middleware import Middleware

MIDDLEWARE = Middleware("sockets", "Sockets", is_direct=True, package="contrib.sockets")
