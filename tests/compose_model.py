"""The part of a compose file that we use; what is not in it, such as a key with a slip, is refused."""

import re
import shlex
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

_DURATION = r"^(\d+(us|ms|s|m|h))+$"
_PORT = r"^\d+\.\d+\.\d+\.\d+:\d+:\d+$"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HealthCheck(_Strict):
    """How to tell that a service is healthy."""

    test: list[str] = Field(min_length=2)
    interval: str = Field(pattern=_DURATION)
    timeout: str = Field(pattern=_DURATION)
    retries: int = Field(gt=0)


class WaitedFor(_Strict):
    """When a service that another depends on is far enough."""

    condition: Literal["service_started", "service_healthy", "service_completed_successfully"]


class Deploy(_Strict):
    """How many of a service there are."""

    replicas: int = Field(ge=0)


class Service(_Strict):
    """One service: a broker has an image of others, a node one that is built here."""

    image: str
    build: str = ""
    command: str | list[str] = ""
    hostname: str = ""
    profiles: list[str] = []
    restart: Literal["no", "always", "on-failure", "unless-stopped"] = "no"
    stop_grace_period: str = Field("10s", pattern=_DURATION)
    environment: dict[str, str] = {}
    depends_on: dict[str, WaitedFor] = {}
    ports: list[Annotated[str, Field(pattern=_PORT)]] = []
    volumes: list[str] = []
    healthcheck: HealthCheck | None = None
    deploy: Deploy | None = None

    @property
    def words(self) -> list[str]:
        """The words of its command."""
        return shlex.split(self.command) if isinstance(self.command, str) else self.command

    @property
    def line(self) -> str:
        """What a shell is given to run it."""
        if self.words[:2] == ["sh", "-c"]:
            return self.words[2].removeprefix("exec ")
        return shlex.join(self.words)


class ComposeFile(BaseModel):
    """The whole file; every reference in it leads to something."""

    services: dict[str, Service]
    volumes: dict[str, None] = {}
    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _without_extensions(cls, given: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in given.items() if not re.match("x-", key)}

    @model_validator(mode="after")
    def _refer_to_what_exists(self) -> Self:
        for name, service in self.services.items():
            if missing := set(service.depends_on) - set(self.services):
                raise ValueError(f"{name} depends on {missing}, which do not exist")
            if missing := {volume.partition(":")[0] for volume in service.volumes} - set(self.volumes):
                raise ValueError(f"{name} uses the volumes {missing}, which are not declared")
        return self
