#include "tokenizer/normalizer.h"

#include "tokenizer/utf8.h"

#include <stdlib.h>
#include <string.h>

/* A text may grow to this many times its size, and some. Unicode's longest decomposition grows
 * 11 times, so this only stops rules made to fill the memory. */
static const size_t growth_max = 256, growth_free_bytes = 65536;
static const size_t output_bytes_max = (size_t)1 << 29;

/* ---- the double array ----
 * A unit is a node. Bits 0-7 and 31: the byte that leads to it (bit 31 marks a
 * value, which no byte can equal). Bit 8: a rule ends here. Bits 10-30, shifted
 * left by 8 when bit 9 is set: exclusive-or this with the node's index to get
 * the block of its children, and with the next byte to get the child. */
static uint32_t unit_label(uint32_t unit) {
    return unit & 0x800000FFu;
}
static bool unit_has_value(uint32_t unit) {
    return unit >> 8 & 1;
}
static uint32_t unit_offset(uint32_t unit) {
    return unit >> 10 << (unit >> 6 & 8);
}

/* Moves *node (a block of children) along `byte`; false where no rule goes on. */
static bool trie_step(const struct normalizer *normalizer, uint32_t *block, unsigned char byte,
                      bool *has_value) {
    uint32_t node = *block ^ byte;
    if (node >= normalizer->unit_count)
        return false; /* only in a broken file */
    uint32_t unit = normalizer->units[node];
    if (unit_label(unit) != byte)
        return false;
    *block = node ^ unit_offset(unit);
    *has_value = unit_has_value(unit);
    return true;
}

/* Where the rule for the longest prefix of text[bytes] says to look. */
static size_t trie_longest(const struct normalizer *normalizer, const char *text, size_t bytes,
                           size_t *replacement) {
    size_t longest = 0;
    uint32_t block = unit_offset(normalizer->units[0]);
    bool has_value;
    for (size_t i = 0; i < bytes; i++) {
        if (!trie_step(normalizer, &block, (unsigned char)text[i], &has_value))
            break;
        if (!has_value || block >= normalizer->unit_count)
            continue;
        size_t value = normalizer->units[block] & 0x7FFFFFFFu;
        if (value <= normalizer->replacements.bytes) {
            longest = i + 1;
            *replacement = value;
        }
    }
    return longest;
}

/* Finds the bytes that need no search: no rule is the byte itself, and none goes on in ASCII. */
static void find_plain_ascii(struct normalizer *normalizer) {
    for (unsigned first = 0; first < 128; first++) {
        if (normalizer->matcher && normalizer->matcher->starts[first])
            continue;
        bool plain = true, has_value = false;
        uint32_t block = normalizer->units ? unit_offset(normalizer->units[0]) : 0;
        if (normalizer->units && trie_step(normalizer, &block, (unsigned char)first, &has_value)) {
            plain = !has_value;
            for (unsigned second = 0; second < 128 && plain; second++) {
                uint32_t next = block;
                plain = !trie_step(normalizer, &next, (unsigned char)second, &has_value);
            }
        }
        normalizer->ascii_alone[first] = plain;
    }
}

/* The compiled rules: bytes of the trie (32 bits, little-endian), trie, replacements. */
static enum status read_charsmap(struct normalizer *normalizer, struct text_span map,
                                 const char *name, struct error *err) {
    const unsigned char *bytes = (const unsigned char *)map.text;
    size_t trie_bytes = 0;
    if (map.bytes > 4)
        trie_bytes = bytes[0] | bytes[1] << 8 | bytes[2] << 16 | (size_t)bytes[3] << 24;
    if (trie_bytes < 4 || trie_bytes % 4 != 0 || trie_bytes > map.bytes - 4)
        return error_set(err, STATUS_CORRUPT, "%s: its normalization rules are broken", name);
    normalizer->unit_count = trie_bytes / 4;
    normalizer->units = malloc(trie_bytes);
    if (!normalizer->units)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the rules of %s", name);
    bytes += 4;
    for (size_t i = 0; i < normalizer->unit_count; i++, bytes += 4)
        normalizer->units[i] = bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
                               (uint32_t)bytes[3] << 24;
    normalizer->replacements =
        (struct text_span){(const char *)bytes, map.bytes - 4 - trie_bytes};
    return STATUS_OK;
}

enum status normalizer_init(struct normalizer *normalizer, const struct normalizer_spec *spec,
                            bool whitespace_as_suffix, const struct prefix_matcher *matcher,
                            const char *name, struct error *err) {
    *normalizer = (struct normalizer){
        .matcher = matcher,
        .add_dummy_prefix = spec->add_dummy_prefix,
        .remove_extra_whitespaces = spec->remove_extra_whitespaces,
        .escape_whitespaces = spec->escape_whitespaces,
        .whitespace_as_suffix = whitespace_as_suffix,
    };
    if (spec->charsmap.bytes) {
        enum status status = read_charsmap(normalizer, spec->charsmap, name, err);
        if (status != STATUS_OK)
            return status;
    }
    find_plain_ascii(normalizer);
    return STATUS_OK;
}

void normalizer_free(struct normalizer *normalizer) {
    free(normalizer->units);
    *normalizer = (struct normalizer){0};
}

/* ---- one step through the text ---- */
struct step {
    const char *text; /* text[bytes] stands for the `consumed` bytes of input */
    size_t bytes, consumed;
};

static struct step next_step(const struct normalizer *normalizer, const char *text,
                             size_t bytes) {
    if (normalizer->ascii_alone[(unsigned char)text[0]] &&
        (bytes == 1 || (unsigned char)text[1] < 0x80))
        return (struct step){text, 1, 1};
    size_t length = 0, replacement = 0;
    if (normalizer->matcher)
        length = prefix_matcher_longest(normalizer->matcher, text, bytes);
    if (length)
        return (struct step){text, length, length};
    if (normalizer->units)
        length = trie_longest(normalizer, text, bytes, &replacement);
    if (length) {
        const char *found = normalizer->replacements.text + replacement;
        size_t room = normalizer->replacements.bytes - replacement;
        const char *end = memchr(found, '\0', room);
        return (struct step){found, end ? (size_t)(end - found) : room, length};
    }
    length = utf8_length(text, bytes);
    if (length)
        return (struct step){text, length, length};
    return (struct step){UTF8_REPLACEMENT, strlen(UTF8_REPLACEMENT), 1};
}

static bool is_space(const struct step *step) {
    return step->bytes == 1 && step->text[0] == ' ';
}

static bool append(struct buffer *out, const char *bytes, size_t count) {
    if (out->failed || count >= out->capacity - out->size)
        return buffer_append(out, bytes, count);
    if (count == 1)
        out->data[out->size] = *bytes;
    else
        memcpy(out->data + out->size, bytes, count);
    out->size += count;
    return true;
}

static bool append_space(const struct normalizer *normalizer, struct buffer *out) {
    return normalizer->escape_whitespaces ? append(out, SPACE_MARK, SPACE_MARK_BYTES)
                                          : append(out, " ", 1);
}

static bool append_step(const struct normalizer *normalizer, const struct step *step,
                        struct buffer *out) {
    if (!normalizer->escape_whitespaces)
        return append(out, step->text, step->bytes);
    const char *at = step->text, *end = at + step->bytes;
    while (at < end) {
        const char *space = memchr(at, ' ', (size_t)(end - at));
        const char *stop = space ? space : end;
        if (stop > at && !append(out, at, (size_t)(stop - at)))
            return false;
        if (space && !append_space(normalizer, out))
            return false;
        at = space ? space + 1 : end;
    }
    return true;
}

/* Cuts spaces off the end of out, but not before `start`. */
static void trim_end(const struct normalizer *normalizer, struct buffer *out, size_t start) {
    const char *space = normalizer->escape_whitespaces ? SPACE_MARK : " ";
    size_t width = strlen(space);
    while (out->size - start >= width &&
           memcmp(out->data + out->size - width, space, width) == 0)
        out->size -= width;
}

/* The text after its leading spaces. */
static enum status append_body(const struct normalizer *normalizer, const char *text,
                               const char *end, struct buffer *out, struct error *err) {
    size_t start = out->size, limit = output_bytes_max;
    if ((size_t)(end - text) < output_bytes_max / growth_max)
        limit = growth_max * (size_t)(end - text) + growth_free_bytes;
    bool after_space = normalizer->remove_extra_whitespaces;
    while (text < end) {
        struct step step = next_step(normalizer, text, (size_t)(end - text));
        text += step.consumed;
        while (after_space && step.bytes && step.text[0] == ' ')
            step.text++, step.bytes--;
        if (step.bytes == 0)
            continue; /* what came before still counts as the last character */
        if (step.bytes > limit - (out->size - start))
            return error_set(err, STATUS_TOO_LARGE, "the text becomes too long to tokenize");
        if (!append_step(normalizer, &step, out))
            return error_set(err, STATUS_NO_MEMORY, "no memory to normalize the text");
        if (out->size - start > limit) /* spaces grow when they are marked */
            return error_set(err, STATUS_TOO_LARGE, "the text becomes too long to tokenize");
        after_space =
            normalizer->remove_extra_whitespaces && step.text[step.bytes - 1] == ' ';
    }
    return STATUS_OK;
}

enum status normalizer_run(const struct normalizer *normalizer, const char *text, size_t bytes,
                           struct buffer *out, struct error *err) {
    const char *end = text + bytes;
    size_t start = out->size;
    while (normalizer->remove_extra_whitespaces && text < end) {
        struct step step = next_step(normalizer, text, (size_t)(end - text));
        if (!is_space(&step))
            break;
        text += step.consumed;
    }
    if (text == end)
        return STATUS_OK;

    bool prefix = normalizer->add_dummy_prefix && !normalizer->whitespace_as_suffix;
    bool suffix = normalizer->add_dummy_prefix && normalizer->whitespace_as_suffix;
    bool enough = buffer_reserve(out, (size_t)(end - text) + (size_t)(end - text) / 2 + 8);
    if (enough && prefix)
        enough = append_space(normalizer, out);
    if (enough) {
        enum status status = append_body(normalizer, text, end, out, err);
        if (status != STATUS_OK)
            return status;
        if (normalizer->remove_extra_whitespaces)
            trim_end(normalizer, out, start);
        if (suffix)
            enough = append_space(normalizer, out);
    }
    if (!enough)
        return error_set(err, STATUS_NO_MEMORY, "no memory to normalize the text");
    out->data[out->size] = '\0';
    return STATUS_OK;
}
