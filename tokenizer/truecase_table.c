#include "base/file.h"
#include "base/hash.h"
#include "tokenizer/letters.h"
#include "tokenizer/truecase_internal.h"

#include <stdlib.h>
#include <string.h>

/* A feature and its weight, or "=" and a word with where in the text its form is. */
struct entry {
    uint64_t hash; /* 0: free */
    int32_t value;
};

struct truecase_table {
    char *text;            /* a copy of the file's */
    struct entry *entries; /* [capacity], a power of two, at most half of it in use */
    size_t capacity;
};

enum { WEIGHT_MOST = 99999 };

/* Sentence beginnings, as far as the gap before a word tells them for sure, and "I". */
static const char small_table[] = "truecase 1\n"
                                  "9 g ^\n9 g ^<\n9 g .\n9 g !\n9 g ?\n9 g .<\n9 g !<\n9 g ?<\n"
                                  "9 g .>\n9 g >.\n9 g >!\n9 g >?\n9 g .><\n9 g !><\n9 g ?><\n"
                                  "9 g >.<\n9 g .-\n9 g !-\n9 g ?-\n9 g ^-\n"
                                  "9 w i\n9 w i'm\n9 w i'll\n9 w i'd\n9 w i've\n";

static uint64_t entry_hash(const char *feature, size_t bytes) {
    uint64_t hash = hash_bytes(0, feature, bytes);
    return hash ? hash : 1;
}

/* The place of a hash, taken or free. */
static struct entry *find(const struct truecase_table *table, uint64_t hash) {
    size_t at = hash & (table->capacity - 1);
    while (table->entries[at].hash && table->entries[at].hash != hash)
        at = (at + 1) & (table->capacity - 1);
    return &table->entries[at];
}

int32_t truecase_table_weight(const struct truecase_table *table, const char *feature,
                              size_t bytes) {
    return find(table, entry_hash(feature, bytes))->value;
}

const char *truecase_table_form(const struct truecase_table *table, const char *key, int bytes) {
    char name[TRUECASE_WORD_BYTES + 1] = "=";
    memcpy(name + 1, key, (size_t)bytes);
    int32_t at = find(table, entry_hash(name, (size_t)bytes + 1))->value;
    return at ? table->text + at : NULL;
}

bool truecase_table_knows(const struct truecase_table *table, const char *key, int bytes) {
    char name[TRUECASE_WORD_BYTES + 1] = "~";
    memcpy(name + 1, key, (size_t)bytes);
    return find(table, entry_hash(name, (size_t)bytes + 1))->value;
}

/* ---- reading --------------------------------------------------------------------- */

/* "=Form": how a word is written that has other capitals than its first letter. */
static bool read_form(struct truecase_table *table, const char *line, size_t bytes) {
    char name[TRUECASE_WORD_BYTES + 1];
    if (bytes < 2 || bytes > sizeof name)
        return false;
    memcpy(name, line, bytes);
    letters_lower(name, bytes);
    uint64_t hash = entry_hash(name, bytes);
    *find(table, hash) = (struct entry){hash, (int32_t)(line + 1 - table->text)};
    return true;
}

/* "~word ~word": words that are common without a capital. */
static bool read_known(struct truecase_table *table, const char *line, size_t bytes) {
    for (size_t at = 0, length; at < bytes; at += length + 1) {
        const char *space = memchr(line + at, ' ', bytes - at);
        length = space ? (size_t)(space - line) - at : bytes - at;
        if (length < 2 || line[at] != '~')
            return false;
        uint64_t hash = entry_hash(line + at, length);
        *find(table, hash) = (struct entry){hash, 1};
    }
    return true;
}

/* "WEIGHT FEATURE" */
static bool read_weight(struct truecase_table *table, const char *line, size_t bytes) {
    char *end;
    long weight = strtol(line, &end, 10);
    if (end == line || *end != ' ' || weight < -WEIGHT_MOST || weight > WEIGHT_MOST)
        return false;
    const char *feature = end + 1;
    if (feature >= line + bytes)
        return false;
    uint64_t hash = entry_hash(feature, (size_t)(line + bytes - feature));
    *find(table, hash) = (struct entry){hash, (int32_t)weight};
    return true;
}

/* How many lines a table has, as its second line may say; 0: this is another line. */
static size_t read_count(const char *line) {
    char *end;
    size_t lines = strncmp(line, "# ", 2) == 0 ? strtoul(line + 2, &end, 10) : 0;
    return lines && strncmp(end, " lines\n", 7) == 0 ? lines : 0;
}

static enum status read_lines(struct truecase_table *table, const char *name, struct error *err) {
    size_t number = 1, lines = 0;
    for (char *line = table->text, *end; *line; line = end + 1, number++) {
        end = line + strcspn(line, "\n");
        size_t bytes = (size_t)(end - line);
        bool right = number == 1 ? bytes == 10 && memcmp(line, "truecase 1", 10) == 0
                     : *line == '='
                         ? read_form(table, line, bytes)
                     : *line == '~'
                         ? read_known(table, line, bytes)
                         : *line == '#' || read_weight(table, line, bytes);
        if (!right)
            return error_set(err, STATUS_CORRUPT,
                             number == 1
                                 ? "%s is no table for capitals: line %zu is not \"truecase 1\""
                                 : "%s: line %zu is neither \"WEIGHT FEATURE\" nor words",
                             name, number);
        if (!*end)
            return error_set(err, STATUS_CORRUPT, "%s is cut off inside line %zu", name, number);
        if (number == 2)
            lines = read_count(line);
    }
    if (!*table->text)
        return error_set(err, STATUS_CORRUPT, "%s is no table for capitals: it is empty", name);
    if (number <= lines)
        return error_set(err, STATUS_CORRUPT, "%s is cut off: it has %zu of its %zu lines", name,
                         number - 1, lines);
    return STATUS_OK;
}

static size_t count_entries(const char *text) {
    size_t lines = 1;
    for (; *text; text++)
        lines += *text == '\n' || *text == ' ';
    return lines;
}

enum status truecase_table_parse(struct truecase_table **out, const char *text, size_t bytes,
                                 const char *name, struct error *err) {
    if (bytes >= TRUECASE_FILE_BYTES)
        return error_set(err, STATUS_TOO_LARGE, "%s has %zu bytes, a table has fewer than %d", name,
                         bytes, TRUECASE_FILE_BYTES);
    struct truecase_table *table = calloc(1, sizeof *table);
    if (!table || !(table->text = malloc(bytes + 1)))
        goto no_memory;
    memcpy(table->text, text, bytes);
    table->text[bytes] = '\0'; /* a NUL inside ends the table, too */
    table->capacity = 2;
    while (table->capacity < 2 * count_entries(table->text))
        table->capacity *= 2;
    table->entries = calloc(table->capacity, sizeof *table->entries);
    if (!table->entries)
        goto no_memory;
    enum status status = read_lines(table, name, err);
    if (status == STATUS_OK)
        *out = table;
    else
        truecase_table_free(table);
    return status;
no_memory:
    truecase_table_free(table);
    return error_set(err, STATUS_NO_MEMORY, "no memory for %s", name);
}

enum status truecase_table_small(struct truecase_table **table, struct error *err) {
    return truecase_table_parse(table, small_table, sizeof small_table - 1, "the small table", err);
}

enum status truecase_table_load(struct truecase_table **table, const char *path,
                                struct error *err) {
    struct buffer text = {0};
    if (!file_exists(path))
        return truecase_table_small(table, err);
    enum status status = file_read(path, TRUECASE_FILE_BYTES, &text, err);
    if (status == STATUS_OK)
        status = truecase_table_parse(table, text.data ? text.data : "", text.size, path, err);
    buffer_free(&text);
    return status;
}

void truecase_table_free(struct truecase_table *table) {
    if (!table)
        return;
    free(table->text);
    free(table->entries);
    free(table);
}
