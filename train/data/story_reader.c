#include "train/data/story_reader.h"

#include "base/file.h"
#include "base/foreign.h"
#include "base/log.h"
#include "train/data/story_csv.h"
#include "train/data/story_json.h"
#include "train/data/text_source.h"

#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum story_format { FORMAT_LINES, FORMAT_SEPARATED, FORMAT_CSV, FORMAT_VALUES, FORMAT_ARRAY };

struct story_reader {
    char **paths; /* [path_count], owned */
    size_t path_count;
    size_t next_path;
    struct text_source source; /* of paths[next_path - 1], while `reading` */
    bool reading;
    enum story_format format;
    const char *line_end; /* of FORMAT_LINES */
    int column;           /* of FORMAT_CSV */
    uint64_t record; /* of the file being read, from 1 */
};

/* ---- which files ------------------------------------------------------------ */

static enum status add_path(struct story_reader *reader, const char *path, struct error *err) {
    char **paths = realloc(reader->paths, (reader->path_count + 1) * sizeof *paths);
    if (paths)
        reader->paths = paths;
    char *copy = paths ? strdup(path) : NULL;
    if (!copy)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the list of files");
    reader->paths[reader->path_count++] = copy;
    return STATUS_OK;
}

static bool ends_with(const char *name, size_t length, const char *suffix) {
    size_t count = strlen(suffix);
    return length > count && strncasecmp(name + length - count, suffix, count) == 0;
}

/* The length of the name without the suffix that says how the file is packed. */
static size_t base_length(const char *name) {
    return text_source_tool(name) ? (size_t)(strrchr(name, '.') - name) : strlen(name);
}

/* Inside a folder the name decides, since a README may lie there too. */
static bool has_story_name(const char *name) {
    static const char *const suffixes[] = {".txt", ".json", ".jsonl", ".ndjson", ".csv"};
    size_t length = base_length(name);
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++)
        if (ends_with(name, length, suffixes[i]))
            return true;
    return false;
}

/* Adds the entry of a folder if it is a file of stories. */
static enum status add_entry(struct story_reader *reader, const char *folder, const char *name,
                             struct error *err) {
    char path[FILE_PATH_BYTES];
    struct stat info;
    if (name[0] == '.')
        return STATUS_OK;
    enum status status = file_join(path, folder, name, err);
    if (status != STATUS_OK || stat(path, &info) != 0 || !S_ISREG(info.st_mode))
        return status;
    if (has_story_name(name))
        return add_path(reader, path, err);
    log_info("%s: skipped, not a .txt, .json, .jsonl, .ndjson or .csv file", path);
    return STATUS_OK;
}

static int compare_paths(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static enum status list_folder(struct story_reader *reader, const char *folder,
                               struct error *err) {
    DIR *entries = opendir(folder);
    if (!entries)
        return error_set_errno(err, "cannot open %s", folder);
    enum status status = STATUS_OK;
    const struct dirent *entry;
    while (status == STATUS_OK && (errno = 0, entry = readdir(entries)) != NULL)
        status = add_entry(reader, folder, entry->d_name, err);
    if (status == STATUS_OK && errno)
        status = error_set_errno(err, "cannot read %s", folder);
    closedir(entries);
    if (status == STATUS_OK && reader->path_count == 0)
        return error_set(err, STATUS_NOT_FOUND,
                         "no story files (.txt, .json, .jsonl, .ndjson, .csv) in %s", folder);
    if (status == STATUS_OK)
        qsort(reader->paths, reader->path_count, sizeof *reader->paths, compare_paths);
    return status;
}

enum status story_reader_open(struct story_reader **out, const char *path, struct error *err) {
    *out = NULL;
    struct story_reader *reader = calloc(1, sizeof *reader);
    if (!reader)
        return error_set(err, STATUS_NO_MEMORY, "no memory to read %s", path);
    reader->source.fd = -1;
    struct stat info;
    enum status status;
    if (strcmp(path, "-") != 0 && stat(path, &info) != 0)
        status = error_set_errno(err, "cannot open %s", path);
    else if (strcmp(path, "-") != 0 && S_ISDIR(info.st_mode))
        status = list_folder(reader, path, err);
    else
        status = add_path(reader, path, err);
    if (status != STATUS_OK) {
        story_reader_close(reader);
        return status;
    }
    *out = reader;
    return STATUS_OK;
}

void story_reader_close(struct story_reader *reader) {
    if (!reader)
        return;
    if (reader->reading)
        text_source_close(&reader->source);
    for (size_t i = 0; i < reader->path_count; i++)
        free(reader->paths[i]);
    free(reader->paths);
    free(reader);
}

/* ---- what a file holds ------------------------------------------------------ */

static size_t blanks(const char *text, size_t bytes) {
    size_t count = 0;
    while (count < bytes && strchr(" \t\r\n", text[count]) && text[count])
        count++;
    return count;
}

static const char *find(const char *text, size_t bytes, const char *word) {
    size_t length = strlen(word);
    const char *end = text + bytes;
    while (bytes >= length && (text = memchr(text, word[0], bytes - length + 1)) != NULL) {
        if (memcmp(text, word, length) == 0)
            return text;
        text++;
        bytes = (size_t)(end - text);
    }
    return NULL;
}

/* Whether the list that begins here, after its '[', has a string as its first element. */
static bool lists_strings(const char *text, size_t bytes) {
    struct json_scan scan = {0};
    enum json_found found = json_scan_value(&scan, text, bytes);
    size_t next = scan.seen + blanks(text + scan.seen, bytes - scan.seen);
    return found == JSON_MORE ||
           (found == JSON_COMPLETE && (next == bytes || text[next] == ',' || text[next] == ']'));
}

/* Whether every line is one JSON string; a line that the end of `text` cuts is not looked at. */
static bool has_string_lines(const char *text, size_t bytes) {
    size_t lines = 0;
    for (size_t at = 0; (at += blanks(text + at, bytes - at)) < bytes; lines++) {
        struct json_scan scan = {0};
        if (text[at] != '"')
            return false;
        enum json_found found = json_scan_value(&scan, text + at, bytes - at);
        if (found != JSON_COMPLETE)
            return found == JSON_MORE && lines;
        at += scan.seen;
        if (at < bytes && text[at] != '\n' && text[at] != '\r')
            return false;
    }
    return lines;
}

static enum story_format format_of(const char *text, size_t bytes) {
    size_t first = blanks(text, bytes);
    if (first < bytes && (text[first] == '{' || text[first] == '[')) {
        size_t second = first + 1 + blanks(text + first + 1, bytes - first - 1);
        char next = second < bytes ? text[second] : '\0';
        if (text[first] == '{' && (next == '"' || next == '}'))
            return FORMAT_VALUES;
        if (text[first] == '[' && (next == '{' || next == ']' ||
                                   (next == '"' && lists_strings(text + second, bytes - second))))
            return FORMAT_ARRAY;
    }
    if (csv_story_column(text, bytes) >= 0)
        return FORMAT_CSV;
    if (has_string_lines(text, bytes))
        return FORMAT_VALUES;
    return find(text, bytes, STORY_SEPARATOR) ? FORMAT_SEPARATED : FORMAT_LINES;
}

/* A file whose name promises JSON or CSV is not taken for plain text. */
static enum status check_name(const struct story_reader *reader, bool empty, struct error *err) {
    const char *path = reader->source.path;
    size_t length = base_length(path);
    if (empty || (reader->format != FORMAT_LINES && reader->format != FORMAT_SEPARATED))
        return STATUS_OK;
    if (ends_with(path, length, ".csv"))
        return error_set(err, STATUS_UNSUPPORTED,
                         "%s is CSV without a column \"text\" or \"story\" in its first line",
                         path);
    if (ends_with(path, length, ".json") || ends_with(path, length, ".jsonl") ||
        ends_with(path, length, ".ndjson"))
        return error_set(err, STATUS_UNSUPPORTED,
                         "%s holds no JSON of stories: objects, strings, or an array of them",
                         path);
    return STATUS_OK;
}

/* The header of a CSV file, which what has been looked at holds whole. */
static void skip_record(struct text_source *source) {
    struct csv_scan scan = {0};
    csv_scan_record(&scan, text_source_data(source), text_source_size(source));
    text_source_skip(source, scan.seen);
}

static enum status start_file(struct story_reader *reader, struct error *err) {
    struct text_source *source = &reader->source;
    enum status status = text_source_open(source, reader->paths[reader->next_path++], err);
    reader->reading = true;
    reader->record = 0;
    if (status == STATUS_OK)
        status = text_source_want(source, STORY_SNIFF_BYTES, err);
    if (status != STATUS_OK)
        return status;
    const char *text = text_source_data(source);
    size_t bytes = text_source_size(source);
    const char *foreign = foreign_name(text, bytes);
    if (foreign) {
        bool packed = strncmp(foreign, "packed", 6) == 0;
        return error_set(
            err, STATUS_UNSUPPORTED, "%s is %s%s", source->path, foreign,
            packed ? ", or let its name end in .xz, .gz or .zst, as it is packed" : "");
    }
    size_t mark = utf8_mark(text, bytes), sniffed;
    text_source_skip(source, mark);
    text += mark;
    bytes -= mark;
    sniffed = bytes < STORY_SNIFF_BYTES ? bytes : STORY_SNIFF_BYTES;
    reader->format = format_of(text, sniffed);
    reader->line_end = memchr(text, '\r', sniffed) && !memchr(text, '\n', sniffed) ? "\r" : "\n";
    reader->column = csv_story_column(text, sniffed);
    if (reader->format == FORMAT_ARRAY)
        text_source_skip(source, blanks(text, bytes) + 1);
    if (reader->format == FORMAT_CSV)
        skip_record(source);
    return check_name(reader, blanks(text, bytes) == bytes, err);
}

/* ---- one record ------------------------------------------------------------- */

static enum status too_long(const struct story_reader *reader, struct error *err) {
    return error_set(err, STATUS_TOO_LARGE, "%s: record %llu is longer than %d bytes",
                     reader->source.path, (unsigned long long)reader->record, STORY_LIMIT_BYTES);
}

static enum status corrupt(const struct story_reader *reader, const char *what,
                          struct error *err) {
    return error_set(err, STATUS_CORRUPT, "%s: record %llu: %s", reader->source.path,
                     (unsigned long long)reader->record, what);
}

/* Text up to `end_mark` or the end of the file. */
static enum status next_text(struct story_reader *reader, const char *end_mark,
                             struct buffer *story, bool *got, struct error *err) {
    struct text_source *source = &reader->source;
    size_t mark_bytes = strlen(end_mark), scanned = 0;
    reader->record++;
    for (;;) {
        const char *text = text_source_data(source);
        size_t bytes = text_source_size(source);
        const char *mark = find(text + scanned, bytes - scanned, end_mark);
        size_t length = mark ? (size_t)(mark - text) : bytes;
        if (length > STORY_LIMIT_BYTES)
            return too_long(reader, err);
        if (mark || source->at_end) {
            *got = mark || blanks(text, length) < length; /* the rest of the file is no story */
            if (!buffer_append(story, text, length))
                return error_set(err, STATUS_NO_MEMORY, "no memory for a story");
            text_source_skip(source, length + (mark ? mark_bytes : 0));
            return STATUS_OK;
        }
        scanned = bytes >= mark_bytes ? bytes - mark_bytes + 1 : 0; /* may be cut in two */
        enum status status = text_source_fill(source, err);
        if (status != STATUS_OK)
            return status;
    }
}

static enum status next_line(struct story_reader *reader, struct buffer *story, bool *got,
                             struct error *err) {
    enum status status = next_text(reader, reader->line_end, story, got, err);
    if (status == STATUS_OK && find(story->data, story->size, STORY_SEPARATOR))
        return corrupt(reader, STORY_SEPARATOR " in a file that was taken for one story a line, "
                       "because its beginning has none", err);
    return status;
}

/* Skips white space; *next is the byte after it, or EOF. */
static enum status next_byte(struct text_source *source, int *next, struct error *err) {
    for (;;) {
        text_source_skip(source, blanks(text_source_data(source), text_source_size(source)));
        if (text_source_size(source) > 0 || source->at_end)
            break;
        enum status status = text_source_fill(source, err);
        if (status != STATUS_OK)
            return status;
    }
    *next = text_source_size(source) ? (unsigned char)*text_source_data(source) : EOF;
    return STATUS_OK;
}

static enum status next_record(struct story_reader *reader, struct buffer *story, bool *got,
                               struct error *err) {
    struct text_source *source = &reader->source;
    struct csv_scan scan = {0};
    int next;
    enum status status = next_byte(source, &next, err); /* passes blank lines */
    if (status != STATUS_OK || next == EOF)
        return status;
    reader->record++;
    while (!csv_scan_record(&scan, text_source_data(source), text_source_size(source))) {
        if (scan.seen > STORY_LIMIT_BYTES)
            return too_long(reader, err);
        if (source->at_end)
            break;
        status = text_source_fill(source, err);
        if (status != STATUS_OK)
            return status;
    }
    struct error inner;
    status = csv_field(text_source_data(source), scan.seen, reader->column, story, &inner);
    text_source_skip(source, scan.seen);
    *got = status == STATUS_OK;
    return status == STATUS_CORRUPT ? corrupt(reader, inner.message, err)
                                    : *got ? status : error_set(err, status, "%s", inner.message);
}

/* The next byte is the first of an object or string, or should be. */
static enum status read_value(struct story_reader *reader, struct buffer *story, bool *got,
                              struct error *err) {
    struct text_source *source = &reader->source;
    struct json_scan scan = {0};
    reader->record++;
    char first = text_source_size(source) ? *text_source_data(source) : '\0';
    if (first != '{' && first != '"')
        return corrupt(reader, "expected the { of a JSON object or the quote of a string", err);
    for (;;) {
        enum json_found found =
            json_scan_value(&scan, text_source_data(source), text_source_size(source));
        if (found == JSON_BROKEN)
            return corrupt(reader, "not valid JSON: a line break inside a string", err);
        if (scan.seen > STORY_LIMIT_BYTES)
            return too_long(reader, err);
        if (found == JSON_COMPLETE)
            break;
        if (source->at_end)
            return corrupt(reader, "the file ends inside this value", err);
        enum status status = text_source_fill(source, err);
        if (status != STATUS_OK)
            return status;
    }
    struct error inner;
    char *value = source->window.data + source->begin;
    enum status status = json_story(value, scan.seen, story, &inner);
    if (status != STATUS_OK)
        return error_set(err, status, "%s: record %llu: %s", source->path,
                         (unsigned long long)reader->record, inner.message);
    text_source_skip(source, scan.seen);
    *got = true;
    return STATUS_OK;
}

static enum status next_value(struct story_reader *reader, struct buffer *story, bool *got,
                              struct error *err) {
    int next;
    enum status status = next_byte(&reader->source, &next, err);
    return status == STATUS_OK && next != EOF ? read_value(reader, story, got, err) : status;
}

/* The array's ']' is the next byte; nothing may follow it. */
static enum status end_array(struct story_reader *reader, struct error *err) {
    int next;
    text_source_skip(&reader->source, 1);
    enum status status = next_byte(&reader->source, &next, err);
    if (status == STATUS_OK && next != EOF)
        return corrupt(reader, "more text after the array's ]", err);
    return status;
}

static enum status next_element(struct story_reader *reader, struct buffer *story, bool *got,
                                struct error *err) {
    struct text_source *source = &reader->source;
    int next;
    enum status status = next_byte(source, &next, err);
    if (status == STATUS_OK && next == ']')
        return end_array(reader, err);
    if (status == STATUS_OK && reader->record > 0) {
        if (next == EOF)
            return corrupt(reader, "the file ends inside the array", err);
        if (next != ',')
            return corrupt(reader, "expected , or ] after this value", err);
        text_source_skip(source, 1);
        status = next_byte(source, &next, err);
    }
    return status == STATUS_OK ? read_value(reader, story, got, err) : status;
}

static enum status next_in_file(struct story_reader *reader, struct buffer *story, bool *got,
                                struct error *err) {
    switch (reader->format) {
    case FORMAT_LINES:
        return next_line(reader, story, got, err);
    case FORMAT_SEPARATED:
        return next_text(reader, STORY_SEPARATOR, story, got, err);
    case FORMAT_CSV:
        return next_record(reader, story, got, err);
    case FORMAT_VALUES:
        return next_value(reader, story, got, err);
    case FORMAT_ARRAY:
        return next_element(reader, story, got, err);
    }
    return STATUS_OK;
}

enum status story_reader_next(struct story_reader *reader, struct buffer *story, bool *got,
                              struct error *err) {
    *got = false;
    for (;;) {
        enum status status = STATUS_OK;
        buffer_clear(story);
        if (!reader->reading && reader->next_path == reader->path_count)
            return STATUS_OK;
        if (!reader->reading)
            status = start_file(reader, err);
        if (status == STATUS_OK)
            status = next_in_file(reader, story, got, err);
        if (status != STATUS_OK || *got)
            return status;
        text_source_close(&reader->source);
        reader->reading = false;
    }
}
