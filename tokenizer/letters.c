#include "tokenizer/letters.h"

#include "tokenizer/utf8.h"

#include <stdint.h>
#include <string.h>

/* Lower-case letters from `first` to `last`, every `step`th, and how far their upper case is. */
static const struct {
    uint16_t first, last;
    int16_t to_upper, step;
} ranges[] = {
    {'a', 'z', -32, 1},       {0x00E0, 0x00F6, -32, 1}, {0x00F8, 0x00FE, -32, 1},
    {0x00FF, 0x00FF, 121, 1}, {0x0101, 0x012F, -1, 2},  {0x0133, 0x0137, -1, 2},
    {0x013A, 0x0148, -1, 2},  {0x014B, 0x0177, -1, 2},  {0x017A, 0x017E, -1, 2},
    {0x03B1, 0x03C1, -32, 1}, {0x03C3, 0x03C9, -32, 1}, {0x0430, 0x044F, -32, 1},
    {0x0450, 0x045F, -80, 1},
};

/* The letter in the other case; 0 when `point` is no letter, or is in the case wanted. */
static uint32_t other_case(uint32_t point, bool upper) {
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        uint32_t first = (uint32_t)(ranges[i].first + (upper ? 0 : ranges[i].to_upper));
        uint32_t last = (uint32_t)(ranges[i].last + (upper ? 0 : ranges[i].to_upper));
        if (point >= first && point <= last && (point - first) % (uint32_t)ranges[i].step == 0)
            return (uint32_t)((int32_t)point + (upper ? ranges[i].to_upper : -ranges[i].to_upper));
    }
    return 0;
}

/* The character of one or two bytes at the start of text[bytes]; the table has no longer ones. */
static uint32_t read_point(const char *text, size_t bytes, size_t *length) {
    *length = utf8_length(text, bytes);
    if (*length == 1)
        return (unsigned char)text[0];
    if (*length == 2)
        return ((unsigned char)text[0] & 0x1Fu) << 6 | ((unsigned char)text[1] & 0x3Fu);
    *length = *length ? *length : 1;
    return 0;
}

static void write_point(char *text, size_t length, uint32_t point) {
    if (length == 1) {
        *text = (char)point;
    } else {
        text[0] = (char)(0xC0 | point >> 6);
        text[1] = (char)(0x80 | (point & 0x3F));
    }
}

void letters_lower(char *text, size_t bytes) {
    size_t length;
    for (size_t at = 0; at < bytes; at += length) {
        uint32_t lower = other_case(read_point(text + at, bytes - at, &length), false);
        if (lower)
            write_point(text + at, length, lower);
    }
}

bool letters_raise(char *text, size_t bytes) {
    size_t length;
    uint32_t upper = other_case(read_point(text, bytes, &length), true);
    if (upper)
        write_point(text, length, upper);
    return upper != 0;
}

bool letters_is_upper(const char *text, size_t bytes) {
    size_t length;
    return other_case(read_point(text, bytes, &length), false) != 0;
}

bool letters_match(const char *text, const char *lowered, size_t bytes) {
    size_t length;
    for (size_t at = 0; at < bytes; at += length) {
        char folded[4];
        uint32_t lower = other_case(read_point(text + at, bytes - at, &length), false);
        memcpy(folded, text + at, length);
        if (lower)
            write_point(folded, length, lower);
        if (memcmp(folded, lowered + at, length) != 0)
            return false;
    }
    return true;
}
