"""Changes single fields of a SentencePiece model file, for models that no trainer flag gives."""

import struct


def _varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def fields(data):
    """[(number, wire type, value)] of a message; value is an int, or bytes for types 1, 2 and 5."""
    at, found = 0, []
    while at < len(data):
        tag, at = _read_varint(data, at)
        kind = tag & 7
        if kind == 0:
            value, at = _read_varint(data, at)
        else:
            if kind == 2:
                size, at = _read_varint(data, at)
            else:
                size = {1: 8, 5: 4, 3: 0, 4: 0}[kind]  # a group: only its two ends
            value, at = data[at:at + size], at + size
        found.append((tag >> 3, kind, value))
    return found


def message(parts):
    out = bytearray()
    for number, kind, value in parts:
        out += _varint(number << 3 | kind)
        if kind == 0:
            out += _varint(value)
        elif kind == 2:
            out += _varint(len(value)) + value
        else:
            out += value
    return bytes(out)


def set_field(data, number, kind, value):
    return message([f for f in fields(data) if f[0] != number] + [(number, kind, value)])


def edit_pieces(model, change):
    """change(id, text, type) -> {field number: (wire type, value)} to set, or None."""
    out, index = [], 0
    for number, kind, value in fields(model):
        if number == 1:
            parts = {f[0]: f[2] for f in fields(value)}
            for field, (wire, new) in (change(index, parts[1], parts.get(3, 1)) or {}).items():
                value = set_field(value, field, wire, new)
            index += 1
        out.append((number, kind, value))
    return message(out)


def edit_part(model, part, number, kind, value):
    """Sets a field of the trainer's (2), normalizer's (3) or denormalizer's (5) settings."""
    return message([(n, k, set_field(v, number, kind, value) if n == part else v)
                    for n, k, v in fields(model)])


def piece_count(model):
    return sum(1 for number, kind, _ in fields(model) if (number, kind) == (1, 2))


def float_bits(value):
    return struct.pack("<f", value)
