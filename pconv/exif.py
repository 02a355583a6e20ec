"""EXIF data field by field, each as it is stored: its type, its bytes, their order.

Pillow would translate it: text that is not ASCII becomes question marks, most types are guessed
anew, the byte order turns, by which a camera's own note is read, and what the directory of
interoperability says, such as that the colours are Adobe RGB, is lost.
"""

import struct
from typing import Literal

Order = Literal["<", ">"]
Field = tuple[int, bytes]  # type and content
Directory = dict[int, "Field | Directory"]  # by tag; the inner ones too

EXIF_IFD, GPS_IFD = 0x8769, 0x8825
SHORT, LONG, UNDEFINED = 3, 4, 7
_INTEROP_IFD = 0xA005
_IFD0 = 0
_INNER = {_IFD0: (EXIF_IFD, GPS_IFD), EXIF_IFD: (_INTEROP_IFD,)}  # by the one that they are in
_POINTERS = (EXIF_IFD, GPS_IFD, _INTEROP_IFD)
_ORDERS: dict[bytes, Order] = {b"II": "<", b"MM": ">"}
_BYTES_OF_TYPE = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_BYTES_IN_FILE = _BYTES_OF_TYPE | {16: 8, 17: 8, 18: 8}  # these of BigTIFF alone
_BIG = 43


def read_structure(data: bytes) -> tuple[Order, Directory]:
    """Return the byte order and IFD0 of a TIFF structure, with EXIF, GPS and interoperability.

    What lies beyond the end of damaged data is left out, and what is more than all of it together:
    else a thousand fields could say that each of them is the whole file.

    Args:
        data: A TIFF or BigTIFF file, or EXIF data without the word before it.

    Raises:
        KeyError: If it does not begin as TIFF does.
        struct.error: If it ends before IFD0.
    """
    order = _ORDERS[data[:2]]
    is_big = struct.unpack_from(f"{order}H", data, 2)[0] == _BIG
    (first,) = struct.unpack_from(f"{order}Q" if is_big else f"{order}I", data, 8 if is_big else 4)
    return order, _read(data, order, is_big, first, _IFD0)


def structure(order: Order, directory: Directory) -> bytes:
    """Return IFD0 and those inside it as a TIFF structure."""
    start = b"II*\0" if order == "<" else b"MM\0*"
    return start + struct.pack(f"{order}I", 8) + _written(order, directory, 8)


def numbers(order: Order, kind: int, *values: int) -> Field:
    """Return a field of one or several numbers, `SHORT` or `LONG`."""
    letter = "H" if kind == SHORT else "I"
    return kind, struct.pack(f"{order}{len(values)}{letter}", *values)


def _read(data: bytes, order: Order, is_big: bool, place: int, name: int) -> Directory:
    count, entry, value = (f"{order}Q", 20, 8) if is_big else (f"{order}H", 12, 4)
    found: Directory = {}
    if place + struct.calcsize(count) > len(data):
        return found
    (entries,) = struct.unpack_from(count, data, place)
    first, room = place + struct.calcsize(count), len(data)
    for at in range(first, min(first + entries * entry, len(data) - entry + 1), entry):
        tag, kind, number = struct.unpack_from(f"{order}HH{'Q' if is_big else 'I'}", data, at)
        size, at_value = number * _BYTES_IN_FILE.get(kind, 0), at + entry - value
        if size > value:
            at_value = _number(data[at_value : at_value + value], order)
        if tag in found or not 0 < size <= room or at_value + size > len(data):
            continue
        content, room = data[at_value : at_value + size], room - size
        if tag in _INNER.get(name, ()):
            if fields := _read(data, order, is_big, _number(content, order), tag):
                found[tag] = fields
        elif tag not in _POINTERS and kind in _BYTES_OF_TYPE:
            found[tag] = kind, content
    return found


def _number(content: bytes, order: Order) -> int:
    return int.from_bytes(content, "little" if order == "<" else "big")


def _written(order: Order, directory: Directory, place: int) -> bytes:
    table, rest = struct.pack(f"{order}H", len(directory)), b""
    end = place + len(table) + 12 * len(directory) + 4
    for tag, field in sorted(directory.items()):
        at = struct.pack(f"{order}I", end + len(rest))
        if isinstance(field, dict):
            kind, number, value = LONG, 1, at
            rest += _written(order, field, end + len(rest))
        else:
            kind, content = field
            number, value = len(content) // _BYTES_OF_TYPE[kind], content.ljust(4, b"\0")
            if len(content) > 4:
                value, rest = at, rest + content + b"\0" * (len(content) % 2)
        table += struct.pack(f"{order}HHI", tag, kind, number) + value
    return table + bytes(4) + rest
