/* protobuf.h - reads the fields of one protocol buffer message, in order.
 *
 * Knows the wire format only: what a field means is the caller's business, and
 * a field the caller does not care about is simply the next one. Unknown
 * groups are skipped whole. Every length is checked against the message.
 * Ownership: reader and fields point into the caller's bytes. A reader is used
 * by one thread at a time.
 */
#ifndef ALPACA_TOKENIZER_PROTOBUF_H
#define ALPACA_TOKENIZER_PROTOBUF_H

#include <stddef.h>
#include <stdint.h>

struct protobuf_reader {
    const unsigned char *at, *end;
};

enum protobuf_type {
    PROTOBUF_VARINT = 0,
    PROTOBUF_FIXED64 = 1,
    PROTOBUF_BYTES = 2,
    PROTOBUF_FIXED32 = 5,
};

struct protobuf_field {
    uint32_t number;
    enum protobuf_type type;
    uint64_t integer;  /* of PROTOBUF_VARINT, _FIXED32 and _FIXED64 */
    const char *bytes; /* of PROTOBUF_BYTES: bytes[size] */
    size_t size;
};

enum protobuf_result { PROTOBUF_FIELD, PROTOBUF_END, PROTOBUF_BROKEN };

/* Reads the next field that is not a group. */
enum protobuf_result protobuf_next(struct protobuf_reader *reader, struct protobuf_field *field);

#endif
