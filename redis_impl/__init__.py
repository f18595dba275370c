"""The lab over Redis: petitions as JSON on lists.

Kind: indirect; not blocking (many petitions under way); decoupled in time and in space.
Broker: Redis, which also holds the state; one list on one node, a list per node on n nodes.
Load balancing: each petition is pushed to the next live node's list, in turn, by one atomic script.
Delivery: at least once through processing lists that a live node takes over; effect exactly once by id.
Broadcast: PUBLISH with a number, and a capped stream beside it to catch up from.
Library: makes 96 % of the calls that carry a request in stock, 91 % in tuned (``lab library``).
"""
