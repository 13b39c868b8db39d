#include "train/data/text_clean.h"

#include "tokenizer/utf8.h"
#include "train/data/story_reader.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static bool is_utf8(const char *text, size_t bytes) {
    for (size_t i = 0, length; i < bytes; i += length) {
        length = utf8_length(text + i, bytes - i);
        if (length == 0)
            return false;
    }
    return true;
}

/* Decodes the first character of valid UTF-8; its length, 0 at the end. */
static size_t decode(const unsigned char *text, size_t bytes, uint32_t *point) {
    if (bytes == 0)
        return 0;
    size_t length = utf8_promised(text[0]);
    *point = length == 1 ? text[0] : text[0] & (0x7Fu >> length);
    for (size_t i = 1; i < length; i++)
        *point = *point << 6 | (text[i] & 0x3Fu);
    return length;
}

/* ---- mojibake --------------------------------------------------------------- */

/* The byte that Windows-1252 shows as this character, if it is 0x80 to 0xBF (what
 * follows the first byte of a UTF-8 character), or 0. Bytes without a
 * character there are left as control characters by those who misread them. */
static unsigned char continuation(uint32_t point) {
    static const uint16_t shown[32] = {
        0x20AC, 0, 0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160,
        0x2039, 0x0152, 0, 0x017D, 0, 0, 0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013,
        0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0, 0x017E, 0x0178};
    if (point >= 0x80 && point <= 0xBF)
        return (unsigned char)point;
    for (size_t i = 0; point > 0xFF && i < 32; i++) {
        if (shown[i] == point)
            return (unsigned char)(0x80 + i);
    }
    return 0;
}

/* What may stand after a letter in correct text, so proves nothing there. */
static bool is_punctuation(uint32_t point) {
    return (point >= 0x2013 && point <= 0x201E) || point == 0x2026 || point == 0x2039 ||
           point == 0x203A || point == 0xAA || point == 0xAB || point == 0xBA || point == 0xBB;
}

struct repair {
    size_t consumed; /* bytes of the sequence; 0 for none */
    size_t length;
    unsigned char bytes[4];
};

/* "â" and what follows: quotes, dashes, the ellipsis, euro and trade mark. */
static struct repair repair_three(const uint32_t *point, const size_t *end, int count) {
    unsigned char second = count > 1 ? continuation(point[1]) : 0;
    unsigned char third = count > 2 ? continuation(point[2]) : 0;
    if (second == 0x80 && third && point[2] != 0xA0)
        return (struct repair){end[2], 3, {0xE2, 0x80, third}};
    if ((second == 0x82 && third == 0xAC) || (second == 0x84 && third == 0xA2))
        return (struct repair){end[2], 3, {0xE2, second, third}};
    if (second == 0x80 && count > 2 && point[2] == '"') /* a dash whose end was made straight */
        return (struct repair){end[2], 3, {0xE2, 0x80, 0x94}};
    if (second == 0x80) /* a closing quote, whose last byte has no character and gets lost */
        return (struct repair){end[1], 3, {0xE2, 0x80, 0x9D}};
    return (struct repair){0};
}

/* The sequence at text[bytes] that cannot be meant as it stands, and what was meant. */
static struct repair find_repair(const unsigned char *text, size_t bytes) {
    uint32_t point[4];
    size_t end[4]; /* of each character */
    int count = 0;
    for (size_t at = 0, length; count < 4; at = end[count++]) {
        length = decode(text + at, bytes - at, &point[count]);
        if (length == 0)
            break;
        end[count] = at + length;
    }
    unsigned char second = count > 1 ? continuation(point[1]) : 0;
    if (count < 2 || !second)
        return (struct repair){0};
    switch (point[0]) {
    case 0xE2:
        return repair_three(point, end, count);
    case 0xC2: /* signs and the no-break space */
        if (second >= 0xA0)
            return (struct repair){end[1], 2, {0xC2, second}};
        break;
    case 0xE3: /* "Ã" after the text was lower-cased */
        if (point[1] <= 0xA0 || point[1] > 0xBF)
            break;
        /* fall through */
    case 0xC3: /* accented letters */
        if (!is_punctuation(point[1]))
            return (struct repair){end[1], 2, {0xC3, second}};
        break;
    case 0xF0: { /* emoji */
        unsigned char third = count > 2 ? continuation(point[2]) : 0;
        unsigned char fourth = count > 3 ? continuation(point[3]) : 0;
        if (second == 0x9F && third && fourth)
            return (struct repair){end[3], 4, {0xF0, 0x9F, third, fourth}};
        break;
    }
    }
    return (struct repair){0};
}

/* Undoes one round of misreading in place (what was meant is always shorter). */
static size_t repair_round(struct buffer *text) {
    unsigned char *data = (unsigned char *)text->data;
    size_t kept = 0, repairs = 0;
    for (size_t i = 0; i < text->size;) {
        bool lead = data[i] == 0xC3 || data[i] == 0xC2; /* all of ÂÃâãð begin with these */
        struct repair repair = lead ? find_repair(data + i, text->size - i) : (struct repair){0};
        if (repair.consumed) {
            memcpy(data + kept, repair.bytes, repair.length);
            kept += repair.length;
            i += repair.consumed;
            repairs++;
        } else {
            data[kept++] = data[i++];
        }
    }
    text->size = kept;
    data[kept] = '\0';
    return repairs;
}

/* ---- white space ------------------------------------------------------------ */

/* Bytes of white space at text[bytes]: also control characters, the line and
 * paragraph separators of Unicode, and the mark between stories. */
static size_t space_length(const unsigned char *text, size_t bytes) {
    static const char separator[] = STORY_SEPARATOR;
    if (text[0] <= ' ' || text[0] == 0x7F)
        return 1;
    if (text[0] == 0xC2 && bytes >= 2 && text[1] < 0xA0)
        return 2; /* U+0080 to U+009F, U+0085 (next line) among them */
    if (text[0] == 0xEF && bytes >= 3 && text[1] == 0xBB && text[2] == 0xBF)
        return 3; /* U+FEFF: a byte order mark, left inside where files were joined */
    if (text[0] == 0xE2 && bytes >= 3 && text[1] == 0x80 && (text[2] == 0xA8 || text[2] == 0xA9))
        return 3;
    if (text[0] == '<' && bytes >= sizeof separator - 1 &&
        memcmp(text, separator, sizeof separator - 1) == 0)
        return sizeof separator - 1;
    return 0;
}

static void collapse_spaces(struct buffer *text) {
    unsigned char *data = (unsigned char *)text->data;
    size_t kept = 0;
    bool space = false;
    for (size_t i = 0; i < text->size;) {
        size_t length = space_length(data + i, text->size - i);
        if (length) {
            space = true;
            i += length;
            continue;
        }
        if (space && kept)
            data[kept++] = ' ';
        space = false;
        data[kept++] = data[i++];
    }
    text->size = kept;
    data[kept] = '\0';
}

enum text_verdict text_clean(const char *text, size_t bytes, struct buffer *clean,
                             size_t *repairs) {
    enum { ROUNDS = 4 }; /* nobody misreads a text more often */
    buffer_clear(clean);
    if (!is_utf8(text, bytes))
        return TEXT_INVALID_UTF8;
    if (!buffer_append(clean, text, bytes))
        return TEXT_NO_MEMORY;
    for (int round = 0; round < ROUNDS; round++) {
        size_t count = repair_round(clean);
        *repairs += count;
        if (count == 0)
            break;
    }
    collapse_spaces(clean);
    return clean->size ? TEXT_GOOD : TEXT_EMPTY;
}
