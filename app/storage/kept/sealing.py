"""AnswerSealing: seals kept answers by AES-GCM, small ones as they are.

Its library is loaded with the first answer, not at the top: 7 MB that only those pay
who want it (docs/decisions/0057).
"""

import os
import zlib

NONCE = 12  # bytes, as NIST SP 800-38D wants it; a secret seals a few answers only
WORTH_PACKING = 4096  # bytes; packing less costs more than it saves
PLAIN, PACKED = b"\x00", b"\x01"
FASTEST = 1


class AnswerSealing:
    """Fulfils `Sealing`. The secrets have 32 bytes. Threads may share it."""

    def seal(self, secret: bytes, words: bytes, about: bytes) -> bytes:
        """See Sealing."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        nonce, how = os.urandom(NONCE), PLAIN
        if len(words) > WORTH_PACKING:
            how, words = PACKED, zlib.compress(words, FASTEST)
        return nonce + AESGCM(secret).encrypt(nonce, how + words, about)

    def open(self, secret: bytes, sealed: bytes, about: bytes) -> bytes | None:
        """See Sealing."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        try:
            opened = AESGCM(secret).decrypt(sealed[:NONCE], sealed[NONCE:], about)
        except (InvalidTag, ValueError):
            return None
        how, words = opened[:1], opened[1:]
        return zlib.decompress(words) if how == PACKED else words
