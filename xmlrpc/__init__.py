"""The lab over XML-RPC, and the standard library's ``xmlrpc.client`` and ``xmlrpc.server``.

Kind: direct; blocking; coupled in time (both sides must be up) and in space (the client knows the node).
Broker: none; n nodes share their state in Redis, and a master knows which of them live.
Load balancing: the master hands each client a node, in turn; the client stays with it until it dies.
Delivery: at least once by repetition under the same operation id, effect exactly once.
Broadcast: subscribers are XML-RPC servers, called back with notify(insult).
Library: makes 97 % of the calls that carry a request in stock, 0 % in tuned (``lab library``).
"""

# The root of this repository shadows the standard library's package of the same name. Its directory goes
# first, so that xmlrpc.client stays importable for everyone (docs/decisions/0001-xmlrpc-shares-its-name.md).
from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)[::-1]
