"""Signed permission to read fragments: a *grant*. A coordinator signs it, a node checks it.

::

    1.r.KEYID.EXPIRY.SCOPE.MAC      in a URL: ?grant=...

    KEYID   which of the live keys signed, [a-z0-9]{1,16}
    EXPIRY  Unix seconds
    SCOPE   v and the 32 hex digits of a video's id, or k and the 64 of a fragment's key
    MAC     HMAC-SHA256 of ``evenflow-grant:`` and everything before the last dot, 64 hex digits

There is one way to write a grant, so there is nothing to normalise before it is checked. Instants
are passed in. Source of the idea: S3's presigned URLs; unlike those a grant covers a whole video,
so that whoever holds a manifest needs to ask nobody for the next chunk.
"""

import hmac
import re
from dataclasses import dataclass, field

from redundancy.errors import ConfigError
from smart_client.errors import AccessDenied

GRANT_BYTES_MAX = 200

# Clocks of a home's machines differ by seconds; a node whose clock is off by more refuses.
SKEW_S = 60

# No honest coordinator signs for longer: a mistaken expiry must not open a door for ever. S3's
# bound.
LIFETIME_S_MAX = 7 * 86_400

# The file of a node or coordinator: the key that signs, and the one before or after it.
KEYS_MAX = 2
_SECRET_CHARACTERS_MIN = 32
_SECRET_CHARACTERS_MAX = 512

_KEY_ID = r"[a-z0-9]{1,16}"
_SCOPE = r"v[0-9a-f]{32}|k[0-9a-f]{64}"
_GRANT = re.compile(rf"1\.r\.({_KEY_ID})\.([1-9][0-9]{{0,11}})\.({_SCOPE})\.([0-9a-f]{{64}})")
_LINE = re.compile(
    rf"({_KEY_ID})[ \t]+([!-~]{{{_SECRET_CHARACTERS_MIN},{_SECRET_CHARACTERS_MAX}}})"
)

_PURPOSE = b"evenflow-grant:"

# Enough to tell two keys apart, and nothing to find a secret of 32 characters by.
_PRINT_BYTES = 6


class GrantRefused(AccessDenied):
    """A grant is missing, not well-formed, not signed by a live key, or of something else."""

    code = "GRANT_REFUSED"


class GrantExpired(GrantRefused):
    """A grant was good and is no longer."""

    code = "GRANT_EXPIRED"


@dataclass(frozen=True, slots=True)
class Scope:
    """What may be read: every fragment of a video, or one fragment."""

    text: str

    def __post_init__(self) -> None:
        if not re.fullmatch(_SCOPE, self.text, re.ASCII):
            raise ValueError("a scope is v or k and hex digits")

    @classmethod
    def video(cls, video_id: str) -> "Scope":
        """Everything of a video, by its 32 hex digits."""
        return cls(f"v{video_id}")

    @classmethod
    def fragment(cls, key: str) -> "Scope":
        """One fragment, by its 64 hex digits."""
        return cls(f"k{key}")

    @property
    def video_id(self) -> bytes | None:
        """The video, if the scope is one."""
        return bytes.fromhex(self.text[1:]) if self.text[0] == "v" else None

    @property
    def fragment_key(self) -> bytes | None:
        """The fragment, if the scope is one."""
        return bytes.fromhex(self.text[1:]) if self.text[0] == "k" else None


@dataclass(frozen=True, slots=True)
class Grant:
    """A well-formed grant; whether it is good is for ``ReadKeys.check`` to say."""

    key_id: str
    expires_s: int
    scope: Scope
    mac: bytes

    @classmethod
    def parse(cls, text: str) -> "Grant":
        """Read a grant. Raises: GrantRefused."""
        found = _GRANT.fullmatch(text) if len(text) <= GRANT_BYTES_MAX else None
        if found is None:
            raise GrantRefused("not a grant")
        key_id, expires, scope, mac = found.groups()
        return cls(key_id, int(expires), Scope(scope), bytes.fromhex(mac))

    @property
    def signed(self) -> str:
        """What the MAC is of."""
        return f"1.r.{self.key_id}.{self.expires_s}.{self.scope.text}"

    def __str__(self) -> str:
        return f"{self.signed}.{self.mac.hex()}"


@dataclass(frozen=True, slots=True)
class ReadKeys:
    """The live keys: the first signs, all are accepted. Its text never shows a secret."""

    secrets: tuple[tuple[str, bytes], ...] = field(repr=False)  # (key id, secret)

    def __post_init__(self) -> None:
        names = [key_id for key_id, _ in self.secrets]
        if not 1 <= len(names) <= KEYS_MAX or len(set(names)) != len(names):
            raise ConfigError(f"read keys: need 1 to {KEYS_MAX} of them, each with its own id")

    @classmethod
    def parse(cls, text: str) -> "ReadKeys":
        """Read ``id secret`` lines; empty ones and those that start with ``#`` are left out.

        Raises: ConfigError: with the number of the line, never with what is in it.
        """
        secrets = []
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            found = _LINE.fullmatch(line.strip())
            if found is None:
                raise ConfigError(
                    f"read keys: line {number} is not 'id secret'",
                    hint=f"an id is 1 to 16 of a-z0-9, a secret {_SECRET_CHARACTERS_MIN} or more "
                    "printable characters: python3 -c 'import secrets; "
                    'print("a", secrets.token_urlsafe(32))\'',
                )
            secrets.append((found[1], found[2].encode("ascii")))
        return cls(tuple(secrets))

    @property
    def prints(self) -> tuple[str, ...]:
        """What may be told of the keys, so that two machines can see whether theirs are the same.

        ``id:`` and 12 hex digits of a MAC of nothing, for each.
        """
        return tuple(
            f"{key_id}:{_mac(secret, '')[:_PRINT_BYTES].hex()}" for key_id, secret in self.secrets
        )

    def sign(self, scope: Scope, expires_s: int) -> Grant:
        """Return a grant by the first key, good until ``expires_s`` in Unix seconds."""
        key_id, secret = self.secrets[0]
        unsigned = Grant(key_id, expires_s, scope, b"")
        return Grant(key_id, expires_s, scope, _mac(secret, unsigned.signed))

    def check(self, grant: Grant, now_s: float) -> Scope:
        """Return what may be read by a grant. Raises: GrantRefused, GrantExpired.

        That a good grant has expired is told only to those who hold one.
        """
        secret = dict(self.secrets).get(grant.key_id, b"")
        # Compared in constant time, also for a key that is not there.
        is_same = hmac.compare_digest(_mac(secret, grant.signed), grant.mac)
        if not is_same or not secret:
            raise GrantRefused("the grant is not signed by a live key")
        if now_s > grant.expires_s + SKEW_S:
            raise GrantExpired("the grant has expired")
        if grant.expires_s > now_s + LIFETIME_S_MAX + SKEW_S:
            raise GrantRefused("the grant is good for longer than any may be")
        return grant.scope


def _mac(secret: bytes, signed: str) -> bytes:
    return hmac.digest(secret, _PURPOSE + signed.encode("ascii"), "sha256")
