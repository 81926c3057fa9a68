"""The sound records of a segment, and the gaps between them."""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple
from zlib import crc32

from beanrow.journal.codec import (
    DELETE,
    DELETE_LAYOUT,
    HEADER_SIZE,
    JOB,
    KEY,
    MARK,
    PUT,
    SEAL,
    STATE,
    TUBE,
    Header,
)

__all__ = ["Gap", "Scan"]

_HEAD = Struct("<HIIB")
"""Seal and frame of a record."""
_OF_A_JOB = (PUT, JOB, STATE, DELETE, KEY)
_KINDS = {
    PUT: "put of job",
    JOB: "job",
    STATE: "state of job",
    DELETE: "delete of job",
    KEY: "key of job",
    TUBE: "counts of a tube",
    MARK: "mark",
}


class Gap(NamedTuple):
    """Bytes that are no sound record: ``start`` and ``end`` in the segment.

    ``lost`` tells, for people, what records seem to begin there.
    """

    start: int
    end: int
    lost: tuple[str, ...]


class Scan:
    """Reads a segment's bytes. Once ``records`` is through, ``gaps`` are those it met."""

    def __init__(self, data: bytes, header: Header, end: int) -> None:
        self.gaps: list[Gap] = []
        self._data = data
        self._end = end
        self._tag = header.tag
        self._salt = header.salt

    def records(self) -> Iterator[tuple[int, int, bytes]]:
        """Give each sound record: where it begins, its kind, and itself without its seal."""
        data, limit, tag, salt = self._data, self._end, self._tag, self._salt
        read_head, around, seal = _HEAD.unpack_from, _HEAD.size, SEAL.size
        last = limit - around
        position = HEADER_SIZE
        while position <= last:
            found, checksum, length, kind = read_head(data, position)
            end = position + around + length
            if found == tag and end <= limit:
                record = data[position + seal : end]
                if crc32(record, salt) == checksum:
                    yield position, kind, record
                    position = end
                    continue
            position = self._skip(position)
        if position < limit:
            self._note(position, limit)

    def _skip(self, position: int) -> int:
        """Note the gap that begins here; gives where it ends."""
        end = self._next_sound(position + 1)
        self._note(position, end)
        return end

    def _next_sound(self, position: int) -> int:
        data, limit = self._data, self._end
        tag = self._tag.to_bytes(2, "little")
        while True:
            position = data.find(tag, position, limit)
            if position < 0 or position + _HEAD.size > limit:
                return limit
            _, checksum, length, _ = _HEAD.unpack_from(data, position)
            end = position + _HEAD.size + length
            if end <= limit and crc32(data[position + SEAL.size : end], self._salt) == checksum:
                return position
            position += 1

    def _note(self, start: int, end: int) -> None:
        self.gaps.append(Gap(start, end, tuple(self._guess(start, end))))

    def _guess(self, position: int, end: int) -> Iterator[str]:
        """Name the damaged records whose frames are still whole."""
        while position + _HEAD.size + DELETE_LAYOUT.size <= end:
            tag, _, length, kind = _HEAD.unpack_from(self._data, position)
            if tag != self._tag or kind not in _KINDS:
                return
            if position + _HEAD.size + length > end:
                yield f"{_KINDS[kind]}, cut short"
                return
            if kind in _OF_A_JOB:
                job_id, _ = DELETE_LAYOUT.read(self._data, position + _HEAD.size)
                yield f"{_KINDS[kind]} {job_id}"
            else:
                yield _KINDS[kind]
            position += _HEAD.size + length
