"""The wire: connections to Redis with its errors translated, and the scripts that move petitions."""

from ._connection import Replies, connect
from ._node import PetitionServer

__all__ = ["PetitionServer", "Replies", "connect"]
