"""The lab over RabbitMQ: events and texts on queues.

Kind: indirect; not blocking (many requests under way); decoupled in time and in space.
Broker: RabbitMQ; n nodes share their state in Redis, one node keeps it in memory.
Load balancing: all nodes consume one queue; the broker gives each node a few messages at a time (prefetch).
Delivery: at least once, by acknowledgement after the effect and the reply. Tuned: the effect exactly once, by
    id; a message that kills its nodes, or fails too often, becomes a dead letter. Stock keeps no ids.
Broadcast: a fanout exchange, and a queue for each subscriber. Tuned keeps the queue for two minutes while its
    subscriber is away; stock deletes it.
Library: makes 98 % of the calls that carry a request in stock, 56 % in tuned (``lab library``).
"""
