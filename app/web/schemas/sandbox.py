"""The wire models of the sandbox's panel: faults that are on, and faults there are."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Fault(BaseModel):
    """The fault of a stand-in; others may be told of it than these."""

    model_config = ConfigDict(extra="allow")

    fault: str | None = Field(description="Its name in the catalogue; null: none is.")
    times: int | None = Field(
        default=None, description="Chats that are still to suffer it; null: all."
    )
    params: dict[str, Any] = Field(default={}, description="Its knobs.")


class KnownFault(BaseModel):
    """An entry of the catalogue."""

    model_config = ConfigDict(extra="allow")

    name: str
    sentence: str = Field(description="What it does, for people.")
    params: dict[str, Any] = Field(description="Its knobs with their defaults.")


class Panel(BaseModel):
    """Every stand-in, and every fault there is."""

    services: dict[str, Fault] = Field(description="Each stand-in by its name.")
    faults: list[KnownFault]
