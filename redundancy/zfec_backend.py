"""zfec as an engine. Its arguments are always lists made here, checked by ``CheckedCodec`` before.

Called directly, zfec hangs in ``decode`` when a data fragment is given twice, returns garbage when
a parity fragment is, or when an index is out of range, and reorders its caller's lists.
"""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import zfec

from redundancy.buffers import ByteArray, Span
from redundancy.scheme import Scheme


class ZfecEngine:
    """Computes fragments with zfec, which releases the GIL."""

    name = "zfec"

    def produce(self, scheme: Scheme, have: Mapping[int, Span], want: Mapping[int, Span]) -> None:
        """Fill ``want`` from the k fragments of ``have``."""
        data = _data_fragments(scheme, have)
        parity = [index for index in want if index >= scheme.k]
        made: dict[int, ByteArray | bytes] = dict(enumerate(data))
        if parity:
            made.update(zip(parity, _encoder(scheme).encode(data, parity), strict=True))
        for index, target in want.items():
            target.view[:] = np.frombuffer(made[index], dtype=np.uint8)


def _data_fragments(scheme: Scheme, have: Mapping[int, Span]) -> list[ByteArray | bytes]:
    """Return all k data fragments in order, decoding those that are not in ``have``."""
    others = iter([index for index in have if index >= scheme.k])
    # zfec wants every data fragment it is given in the slot of its own number.
    slots = [index if index in have else next(others) for index in range(scheme.k)]
    blocks: list[ByteArray | bytes] = [have[index].view for index in slots]
    if slots == [*range(scheme.k)]:
        return blocks
    return list(_decoder(scheme).decode(blocks, slots))


@lru_cache(maxsize=16)
def _encoder(scheme: Scheme) -> zfec.Encoder:
    return zfec.Encoder(scheme.k, scheme.n)


@lru_cache(maxsize=16)
def _decoder(scheme: Scheme) -> zfec.Decoder:
    return zfec.Decoder(scheme.k, scheme.n)
