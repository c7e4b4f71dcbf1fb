"""Every way the sandbox can break. Rule: a fault knows its Exchange, nothing else."""

from collections.abc import Mapping
from types import MappingProxyType

from sandbox.faults import answers, bodies, connections, headers, silences, streams
from sandbox.faults.registry import Fault

CATALOGUE: Mapping[str, Fault] = MappingProxyType(
    {
        **connections.fault,
        **silences.fault,
        **headers.fault,
        **bodies.fault,
        **answers.fault,
        **streams.fault,
    }
)

__all__ = ["CATALOGUE", "Fault"]
