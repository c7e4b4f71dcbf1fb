"""The network: how the gateway talks to the services that answer chats.

Rule of this room: it is the only one that imports requests and urllib3, and of the
house it imports only the gateway. Exceptions of other people's libraries do not leave
it: `http/translate` turns each into one of ours. A new dialect is a new file, and an
entry of `KINDS`.
"""

from collections.abc import Mapping

from app.upstreams.anthropic.upstream import AnthropicUpstream
from app.upstreams.dialect import Dialect
from app.upstreams.madre import MadreUpstream
from app.upstreams.openai.upstream import OpenAIUpstream
from app.upstreams.switch import SwitchUpstream

Kinds = Mapping[str, type[Dialect]]

KINDS: Kinds = {
    "switch": SwitchUpstream,
    "madre": MadreUpstream,
    "openai": OpenAIUpstream,
    "anthropic": AnthropicUpstream,
}
