"""The wire: links, lanes and queues. Only this module and those it is made of use pika."""

from ._client import QueueClient
from ._lane import Delivery, Lane, Watch
from ._link import Link
from ._node import QueueServer
from ._queues import QUEUE_TYPES, arguments_of, declare_queues, delete_namespace
from ._wire import Message, Names

__all__ = [
    "QUEUE_TYPES",
    "Delivery",
    "Lane",
    "Link",
    "Message",
    "Names",
    "QueueClient",
    "QueueServer",
    "Watch",
    "arguments_of",
    "declare_queues",
    "delete_namespace",
]
