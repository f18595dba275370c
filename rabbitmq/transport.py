"""The wire: links, lanes and queues. Only this module and those it is made of use pika."""

from ._client import QueueClient
from ._lane import Delivery, Lane
from ._link import Link
from ._node import QueueServer
from ._queues import QUEUE_TYPES, delete_namespace

__all__ = ["QUEUE_TYPES", "Delivery", "Lane", "Link", "QueueClient", "QueueServer", "delete_namespace"]
