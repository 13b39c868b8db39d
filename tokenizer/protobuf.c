#include "tokenizer/protobuf.h"

#include <stdbool.h>

enum { GROUP_START = 3, GROUP_END = 4 };
enum { GROUP_DEPTH_MAX = 100 }; /* as in other readers of the format */

static bool read_varint(struct protobuf_reader *reader, uint64_t *value) {
    *value = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        if (reader->at == reader->end)
            return false;
        unsigned char byte = *reader->at++;
        *value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80)
            return true;
    }
    return false;
}

static bool read_fixed(struct protobuf_reader *reader, unsigned bytes, uint64_t *value) {
    if ((size_t)(reader->end - reader->at) < bytes)
        return false;
    *value = 0;
    for (unsigned i = 0; i < bytes; i++)
        *value |= (uint64_t)*reader->at++ << (8 * i);
    return true;
}

/* Reads what follows the tag of a field that is not a group. */
static bool read_value(struct protobuf_reader *reader, struct protobuf_field *field) {
    uint64_t size;
    switch (field->type) {
    case PROTOBUF_VARINT:
        return read_varint(reader, &field->integer);
    case PROTOBUF_FIXED32:
        return read_fixed(reader, 4, &field->integer);
    case PROTOBUF_FIXED64:
        return read_fixed(reader, 8, &field->integer);
    case PROTOBUF_BYTES:
        if (!read_varint(reader, &size) || size > (size_t)(reader->end - reader->at))
            return false;
        field->bytes = (const char *)reader->at;
        field->size = (size_t)size;
        reader->at += size;
        return true;
    }
    return false;
}

enum protobuf_result protobuf_next(struct protobuf_reader *reader, struct protobuf_field *field) {
    uint32_t open_groups[GROUP_DEPTH_MAX];
    int depth = 0;
    while (reader->at < reader->end) {
        uint64_t tag;
        if (!read_varint(reader, &tag) || tag > UINT32_MAX || tag >> 3 == 0)
            return PROTOBUF_BROKEN;
        unsigned type = tag & 7;
        *field = (struct protobuf_field){.number = (uint32_t)(tag >> 3)};
        if (type == GROUP_START) {
            if (depth == GROUP_DEPTH_MAX)
                return PROTOBUF_BROKEN;
            open_groups[depth++] = field->number;
        } else if (type == GROUP_END) {
            if (depth == 0 || open_groups[--depth] != field->number)
                return PROTOBUF_BROKEN;
        } else if (type > PROTOBUF_FIXED32) {
            return PROTOBUF_BROKEN;
        } else {
            field->type = (enum protobuf_type)type;
            if (!read_value(reader, field))
                return PROTOBUF_BROKEN;
            if (depth == 0)
                return PROTOBUF_FIELD;
        }
    }
    return depth == 0 ? PROTOBUF_END : PROTOBUF_BROKEN;
}
