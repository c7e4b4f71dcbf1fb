"""Names by which an installation without authentication may be asked.

A page in a browser may have its name lead to our address (DNS rebinding), and would
then be let in as anybody is. Such a name is one that can be bought.
"""

from ipaddress import ip_address

# Nobody can own a name below these (RFC 6761, RFC 6762, and ICANN's of 2024).
_LOCAL = (".localhost", ".local", ".internal")


def is_local(host: str) -> bool:
    """Whether a Host header names an address, a bare name or one that nobody owns."""
    name, _, port = host.rpartition(":")
    if not name or not port.isdigit():
        name = host
    try:
        ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        name = name.rstrip(".").lower()
        return "." not in name or name.endswith(_LOCAL)
    return True
