"""The wire: links, lanes and queues. Only this module and those it is made of use pika."""

from ._client import QueueClient
from ._delivery import Delivery, Watch
from ._fetching import FetchingLane
from ._lane import Lane, two_lanes
from ._link import Confirms, Link
from ._node import QueueServer
from ._pending import Request
from ._queues import QUEUE_TYPES, arguments_of, declare_guards, declare_queues, delete_namespace
from ._suspects import Suspects
from ._wire import Message, Names, suspect_of

__all__ = [
    "QUEUE_TYPES",
    "Confirms",
    "Delivery",
    "FetchingLane",
    "Lane",
    "Link",
    "Message",
    "Names",
    "QueueClient",
    "QueueServer",
    "Request",
    "Suspects",
    "Watch",
    "arguments_of",
    "declare_guards",
    "declare_queues",
    "delete_namespace",
    "suspect_of",
    "two_lanes",
]
