#include "tokenizer/utf8.h"

#include <stdbool.h>
#include <stdint.h>

static bool is_trail(unsigned char byte) {
    return (byte & 0xC0) == 0x80;
}

size_t utf8_promised(unsigned char first) {
    if (first < 0xC0)
        return 1;
    return first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF8 ? 4 : 1;
}

size_t utf8_length(const char *text, size_t bytes) {
    static const uint32_t smallest[5] = {0, 0, 0x80, 0x800, 0x10000};
    if (bytes == 0)
        return 0;
    unsigned char first = (unsigned char)text[0];
    if (first < 0x80)
        return 1;
    size_t length = utf8_promised(first);
    if (length == 1 || length > bytes)
        return 0;
    uint32_t point = first & (0xFFu >> (length + 1));
    for (size_t i = 1; i < length; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (!is_trail(byte))
            return 0;
        point = point << 6 | (byte & 0x3Fu);
    }
    if (point < smallest[length] || point > 0x10FFFF || (point >= 0xD800 && point < 0xE000))
        return 0;
    return length;
}

bool utf8_unfinished(const char *text, size_t bytes) {
    if (bytes == 0 || bytes >= utf8_promised((unsigned char)text[0]))
        return false;
    for (size_t i = 1; i < bytes; i++)
        if (!is_trail((unsigned char)text[i]))
            return false;
    return true;
}

size_t utf8_count(const char *text, size_t bytes) {
    size_t count = 0;
    for (size_t i = 0; i < bytes; i++)
        count += !is_trail((unsigned char)text[i]);
    return count;
}
