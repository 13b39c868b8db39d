#include "tokenizer/vocabulary.h"

#include <stdlib.h>
#include <string.h>

/* Mixes eight bytes at a time; texts of up to 16 bytes, nearly all, take two rounds. With
 * hash_bytes(), which mixes the length in more thoroughly, encoding takes a seventh longer. */
static uint64_t hash_text(const char *text, size_t bytes) {
    const uint64_t factor = 0x9E3779B97F4A7C15u; /* 2^64 / golden ratio, odd */
    uint64_t hash = bytes * factor;
    while (bytes) {
        size_t take = bytes < 8 ? bytes : 8;
        uint64_t word = 0;
        if (take == 8)
            memcpy(&word, text, 8);
        else
            for (size_t i = 0; i < take; i++)
                word = word << 8 | (unsigned char)text[i];
        hash = (hash ^ word) * factor;
        hash ^= hash >> 29;
        text += take;
        bytes -= take;
    }
    hash *= factor;
    return hash ^ hash >> 32;
}

static bool table_init(struct piece_table *table, size_t count) {
    size_t slots = 16;
    while (slots < 2 * count)
        slots *= 2;
    table->slots = malloc(slots * sizeof *table->slots);
    table->mask = slots - 1;
    if (!table->slots)
        return false;
    for (size_t i = 0; i < slots; i++)
        table->slots[i] = (struct piece_slot){0, -1};
    return true;
}

/* The slot of a text, or the free one where it belongs. */
static struct piece_slot *table_slot(const struct piece_table *table, const struct piece *pieces,
                                     const char *text, size_t bytes, uint32_t *tag) {
    uint64_t hash = hash_text(text, bytes);
    *tag = (uint32_t)(hash >> 32);
    for (size_t at = (size_t)hash & table->mask;; at = (at + 1) & table->mask) {
        struct piece_slot *slot = &table->slots[at];
        if (slot->id < 0)
            return slot;
        const struct piece *piece = &pieces[slot->id];
        if (slot->tag == *tag && piece->bytes == bytes && memcmp(piece->text, text, bytes) == 0)
            return slot;
    }
}

int32_t vocabulary_find(const struct vocabulary *vocabulary, const char *text, size_t bytes) {
    uint32_t tag;
    if (bytes > vocabulary->longest_bytes)
        return -1;
    return table_slot(&vocabulary->normal, vocabulary->pieces, text, bytes, &tag)->id;
}

int32_t vocabulary_id(const struct vocabulary *vocabulary, const char *text, size_t bytes) {
    uint32_t tag;
    int32_t id = table_slot(&vocabulary->reserved, vocabulary->pieces, text, bytes, &tag)->id;
    if (id < 0)
        id = vocabulary_find(vocabulary, text, bytes);
    return id < 0 ? vocabulary->unk_id : id;
}

static int hex_digit(char c) {
    const char *digits = "0123456789ABCDEF", *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

int vocabulary_byte(const struct piece *piece) { /* "<0x2F>" */
    const char *text = piece->text;
    if (piece->bytes != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>')
        return -1;
    int high = hex_digit(text[3]), low = hex_digit(text[4]);
    return high < 0 || low < 0 ? -1 : 16 * high + low;
}

static bool is_normal(const struct piece *piece) {
    return piece->type == PIECE_NORMAL || piece->type == PIECE_USER_DEFINED ||
           piece->type == PIECE_UNUSED;
}

/* Whether a merge could put a space mark anywhere but first. User-defined
 * pieces cannot come from a merge: they are matched whole before any. */
static bool joins_words(const struct piece *piece) {
    if (piece->type == PIECE_USER_DEFINED || !is_normal(piece))
        return false;
    for (size_t at = 1; at + SPACE_MARK_BYTES <= piece->bytes; at++)
        if (memcmp(piece->text + at, SPACE_MARK, SPACE_MARK_BYTES) == 0)
            return true;
    return false;
}

/* The matcher compares up to a NUL, like the original. */
static enum status add_user_defined(struct vocabulary *vocabulary, const struct piece *piece,
                                    const char *name, struct error *err) {
    const char *end = memchr(piece->text, '\0', piece->bytes);
    struct text_span word = {piece->text, end ? (size_t)(end - piece->text) : piece->bytes};
    if (word.bytes == 0)
        return error_set(err, STATUS_CORRUPT, "%s: a user-defined symbol starts with NUL", name);
    if (!prefix_matcher_add(&vocabulary->user_defined, word))
        return error_set(err, STATUS_NO_MEMORY, "no memory for the symbols of %s", name);
    return STATUS_OK;
}

static enum status add_special(struct vocabulary *vocabulary, int32_t id, const char *name,
                               struct error *err) {
    const struct piece *piece = &vocabulary->pieces[id];
    if (piece->type == PIECE_USER_DEFINED)
        return add_user_defined(vocabulary, piece, name, err);
    if (piece->type == PIECE_UNKNOWN) {
        if (vocabulary->unk_id >= 0)
            return error_set(err, STATUS_CORRUPT, "%s has two unknown pieces", name);
        vocabulary->unk_id = id;
    }
    if (piece->type == PIECE_BYTE) {
        int byte = vocabulary_byte(piece);
        if (byte < 0 || !vocabulary->byte_fallback)
            return error_set(err, STATUS_CORRUPT, "%s: byte piece %d is out of place", name,
                             (int)id);
        vocabulary->byte_ids[byte] = id;
    }
    return STATUS_OK;
}

static enum status add_piece(struct vocabulary *vocabulary, int32_t id, const char *name,
                             struct error *err) {
    const struct piece *piece = &vocabulary->pieces[id];
    bool normal = is_normal(piece);
    struct piece_table *table = normal ? &vocabulary->normal : &vocabulary->reserved;
    uint32_t tag;
    struct piece_slot *slot = table_slot(table, vocabulary->pieces, piece->text, piece->bytes,
                                         &tag);
    if (slot->id >= 0)
        return error_set(err, STATUS_CORRUPT, "%s: pieces %d and %d are the same", name,
                         (int)slot->id, (int)id);
    *slot = (struct piece_slot){tag, id};
    if (normal && piece->bytes > vocabulary->longest_bytes)
        vocabulary->longest_bytes = piece->bytes;
    vocabulary->has_unused |= piece->type == PIECE_UNUSED;
    vocabulary->words_independent &= !joins_words(piece);
    return add_special(vocabulary, id, name, err);
}

static enum status check_whole(const struct vocabulary *vocabulary, const char *name,
                               struct error *err) {
    if (vocabulary->unk_id < 0)
        return error_set(err, STATUS_CORRUPT, "%s has no unknown piece", name);
    for (int byte = 0; byte < 256 && vocabulary->byte_fallback; byte++)
        if (vocabulary->byte_ids[byte] < 0)
            return error_set(err, STATUS_CORRUPT, "%s has no piece for byte %d", name, byte);
    return STATUS_OK;
}

enum status vocabulary_init(struct vocabulary *vocabulary, const struct model_file *file,
                            const char *name, struct error *err) {
    enum status status = STATUS_OK;
    *vocabulary = (struct vocabulary){
        .pieces = file->pieces,
        .count = file->piece_count,
        .unk_id = -1,
        .byte_fallback = file->byte_fallback,
        .words_independent = true,
    };
    for (int byte = 0; byte < 256; byte++)
        vocabulary->byte_ids[byte] = -1;
    vocabulary->canonical = malloc((file->piece_count + 1) * sizeof *vocabulary->canonical);
    if (!vocabulary->canonical || !table_init(&vocabulary->normal, file->piece_count) ||
        !table_init(&vocabulary->reserved, file->piece_count))
        status = error_set(err, STATUS_NO_MEMORY, "no memory for the pieces of %s", name);
    for (size_t id = 0; id < file->piece_count && status == STATUS_OK; id++)
        status = add_piece(vocabulary, (int32_t)id, name, err);
    if (status == STATUS_OK)
        status = check_whole(vocabulary, name, err);
    if (status != STATUS_OK) {
        vocabulary_free(vocabulary);
        return status;
    }
    /* An unused piece that is merged through needs its last split in the whole
     * text, so such models are merged in one go. */
    vocabulary->words_independent &= !vocabulary->has_unused;
    prefix_matcher_sort(&vocabulary->user_defined);
    for (size_t id = 0; id < vocabulary->count; id++)
        vocabulary->canonical[id] = vocabulary_id(vocabulary, vocabulary->pieces[id].text,
                                                  vocabulary->pieces[id].bytes);
    return STATUS_OK;
}

void vocabulary_free(struct vocabulary *vocabulary) {
    free(vocabulary->normal.slots);
    free(vocabulary->reserved.slots);
    free(vocabulary->canonical);
    prefix_matcher_free(&vocabulary->user_defined);
    *vocabulary = (struct vocabulary){0};
}
