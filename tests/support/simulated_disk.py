"""A disk that forgets: what is not synced may be lost, torn or out of order after a power cut."""

import errno
import os
import random
from dataclasses import dataclass, field

SECTOR_BYTES = 512


class PowerCut(Exception):
    """The machine, or only the process, stopped in the middle of a call."""


@dataclass
class _Inode:
    durable: bytearray = field(default_factory=bytearray)
    cached: bytearray = field(default_factory=bytearray)
    # ("write", offset, data) and ("size", bytes), in order, not yet on the disk
    pending: list[tuple] = field(default_factory=list)


def _apply(content: bytearray, operation: tuple) -> None:
    if operation[0] == "size":
        _resize(content, operation[1])
    else:
        _, offset, data = operation
        _resize(content, max(len(content), offset + len(data)))
        content[offset : offset + len(data)] = data


def _resize(content: bytearray, size: int) -> None:
    if size < len(content):
        del content[size:]
    else:
        content.extend(bytes(size - len(content)))


class SimulatedDisk:
    """Passes the same contract as RealDisk, and does to the store what disks do."""

    def __init__(self, total_bytes: int = 1 << 30, seed: int = 0) -> None:
        self._total_bytes = total_bytes
        self._rng = random.Random(seed)
        self._names: dict[str, _Inode] = {}
        self._durable_names: dict[str, _Inode] = {}
        self._name_changes: list[tuple[str, _Inode | None]] = []
        self._faults: dict[str, int] = {}
        self.steps_until_stop: int | None = None
        self.syncs = 0

    # What a test does to it

    def fail_next(self, operation: str, error_number: int) -> None:
        """Let the next call of this kind fail; a write is then partly done."""
        self._faults[operation] = error_number

    def fail_nothing(self) -> None:
        self._faults.clear()
        self.steps_until_stop = None

    def cut_power(self) -> None:
        """Lose what was not synced, but for a random part of it."""
        kept_part = self._rng.choice((0.0, 0.5, 0.9, 1.0))
        kept_changes = self._rng.randint(0, len(self._name_changes))
        for name, inode in self._name_changes[:kept_changes]:
            _rename(self._durable_names, name, inode)
        self._names = dict(self._durable_names)
        self._name_changes.clear()
        for inode in self._names.values():
            self._keep_part(inode, kept_part)
            inode.cached = bytearray(inode.durable)
        self.fail_nothing()

    def flip_bit(self, name: str, bit: int) -> None:
        inode = self._names[name]
        for content in (inode.durable, inode.cached):
            content[bit // 8] ^= 1 << (bit % 8)

    def content(self, name: str) -> bytearray:
        """The file's bytes, to be changed in place, cache and disk being one."""
        inode = self._names[name]
        self._settle(inode)
        inode.durable = inode.cached
        return inode.cached

    # What the store does with it

    def names(self) -> list[str]:
        return sorted(self._names)

    def open(self, name: str) -> "SimulatedFile":
        if name not in self._names:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return SimulatedFile(self, self._names[name])

    def create(self, name: str) -> "SimulatedFile":
        self._step("create")
        if name in self._names:
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), name)
        self._change_name(name, _Inode())
        return self.open(name)

    def replace(self, name: str, data: bytes) -> None:
        self._step("replace")
        self._change_name(name, _Inode(bytearray(data), bytearray(data)))
        self.sync_folder()

    def remove(self, name: str) -> None:
        self._step("remove")
        if name not in self._names:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        self._change_name(name, None)

    def sync_folder(self) -> None:
        self._step("sync_folder")
        self._durable_names = dict(self._names)
        self._name_changes.clear()

    def free_bytes(self) -> int:
        return self._total_bytes - sum(len(inode.cached) for inode in self._names.values())

    def total_bytes(self) -> int:
        return self._total_bytes

    # Within

    def _step(self, operation: str) -> None:
        if self.steps_until_stop is not None:
            self.steps_until_stop -= 1
            if self.steps_until_stop <= 0:
                raise PowerCut(operation)
        error_number = self._faults.pop(operation, 0)
        if error_number:
            raise OSError(error_number, os.strerror(error_number))

    def _change_name(self, name: str, inode: _Inode | None) -> None:
        self._name_changes.append((name, inode))
        _rename(self._names, name, inode)

    def _change(self, inode: _Inode, operation: tuple) -> None:
        _apply(inode.cached, operation)
        inode.pending.append(operation)

    def _settle(self, inode: _Inode) -> None:
        for operation in inode.pending:
            _apply(inode.durable, operation)
        inode.pending.clear()

    def _keep_part(self, inode: _Inode, part: float) -> None:
        """Put a random part of what is pending on the disk, sector by sector."""
        size = len(inode.durable)
        for operation in inode.pending:
            if operation[0] == "size":
                size = operation[1] if self._rng.random() < part else size
                continue
            _, offset, data = operation
            for start in range(0, len(data), SECTOR_BYTES):
                if self._rng.random() < part:
                    sector = data[start : start + SECTOR_BYTES]
                    _apply(inode.durable, ("write", offset + start, sector))
                    size = max(size, offset + start + len(sector))
        _resize(inode.durable, size)
        inode.pending.clear()


def _rename(names: dict[str, _Inode], name: str, inode: _Inode | None) -> None:
    if inode is None:
        names.pop(name, None)
    else:
        names[name] = inode


class SimulatedFile:
    """One open file of a simulated disk."""

    descriptor = None

    def __init__(self, disk: SimulatedDisk, inode: _Inode) -> None:
        self._disk = disk
        self._inode = inode

    def size_bytes(self) -> int:
        return len(self._inode.cached)

    def read(self, offset: int, length: int) -> bytes:
        self._disk._step("read")
        return bytes(self._inode.cached[offset : offset + length])

    def write(self, buffers, offset: int) -> None:
        data = b"".join(buffers)
        try:
            self._disk._step("write")
            self._take_space(offset + len(data))
        except (OSError, PowerCut):
            written = data[: self._disk._rng.randint(0, len(data))]
            if written and self._disk.free_bytes() > len(written):
                self._disk._change(self._inode, ("write", offset, written))
            raise
        self._disk._change(self._inode, ("write", offset, data))

    def allocate(self, stop: int) -> None:
        self._disk._step("allocate")
        self._take_space(stop)
        if stop > self.size_bytes():
            self._disk._change(self._inode, ("size", stop))

    def truncate(self, size_bytes: int) -> None:
        self._disk._step("truncate")
        self._disk._change(self._inode, ("size", size_bytes))

    def sync(self) -> None:
        self._disk.syncs += 1
        try:
            self._disk._step("sync")
        except OSError:
            # The kernel marks the pages clean; some of them never reached the disk.
            self._disk._keep_part(self._inode, 0.5)
            raise
        self._disk._settle(self._inode)

    def read_uncached(self, offset: int, length: int) -> bytes:
        self._disk._step("read")
        if self._inode.pending:  # a direct read writes them first, without a sync of the drive
            content = bytearray(self._inode.durable)
            for operation in self._inode.pending:
                _apply(content, operation)
            return bytes(content[offset : offset + length])
        return bytes(self._inode.durable[offset : offset + length])

    def close(self) -> None:
        pass

    def _take_space(self, stop: int) -> None:
        more = stop - self.size_bytes()
        if more > 0 and more > self._disk.free_bytes():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
