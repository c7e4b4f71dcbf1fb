"""What does not fit together behind tentaculo_link, as far as settings show it."""

import os
from collections.abc import Iterator

from app.settings import Settings

PROXY = "VX11_OPERATOR_PROXY_ENABLED"
SIGNS = (PROXY, "VX11_TENTACULO_URL")  # the token alone is every installation's
ON = ("1", "true", "yes", "on")  # what tentaculo_link takes for it

# Seconds: tentaculo_link gives up after 10, its page after 5 (docs/integration.md).
FITS, FITS_THE_PAGE = 9.0, 4.5
MADRE_WITHOUT_SWITCH = 7.3  # seconds that madre takes for a chat while switch is frozen


def warnings_behind_link(settings: Settings) -> Iterator[str]:
    """A line for each of them; none where the environment knows no tentaculo_link."""
    if not any(map(os.environ.get, SIGNS)):
        return
    if settings.chat_deadline > FITS:
        yield (
            f"VX11_CHAT_DEADLINE: behind tentaculo_link, which gives up after 10 s, "
            f"{settings.chat_deadline:g} s are too long; {FITS:g} fits, or "
            f"{FITS_THE_PAGE:g} for its web page, which gives up after 5 s"
        )
    proxy = os.environ.get(PROXY)
    if proxy is not None and proxy.lower() not in ON:
        yield f"{PROXY}: is off, so tentaculo_link answers chats itself"
    timeouts = {one.kind: one.timeout for one in settings.effective_upstreams()}
    if "switch" in timeouts and timeouts.get("madre", FITS) < MADRE_WITHOUT_SWITCH:
        yield (
            f"VX11_MADRE_TIMEOUT: while switch is frozen, madre takes about "
            f"{MADRE_WITHOUT_SWITCH:g} s and gets {timeouts['madre']:g}; 8 fits"
        )
