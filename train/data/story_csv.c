#include "train/data/story_csv.h"

#include <string.h>

/* Where one is after the byte `c`; a line break outside quotes ends the record. */
static enum csv_place next_place(enum csv_place place, char c) {
    if (place == CSV_QUOTED)
        return c == '"' ? CSV_QUOTE_ENDED : CSV_QUOTED;
    if (c == ',')
        return CSV_FIELD_START;
    return c == '"' && place != CSV_PLAIN ? CSV_QUOTED : CSV_PLAIN;
}

bool csv_scan_record(struct csv_scan *scan, const char *text, size_t bytes) {
    while (scan->seen < bytes) {
        char c = text[scan->seen++];
        if ((c == '\n' || c == '\r') && scan->place != CSV_QUOTED)
            return true;
        scan->place = next_place(scan->place, c);
    }
    return false;
}

enum status csv_field(const char *record, size_t bytes, int column, struct buffer *field,
                      struct error *err) {
    enum csv_place place = CSV_FIELD_START;
    for (size_t i = 0; i < bytes && column >= 0; i++) {
        enum csv_place before = place;
        char c = record[i];
        if ((c == '\n' || c == '\r') && place != CSV_QUOTED)
            break;
        place = next_place(place, c);
        if (before == CSV_QUOTE_ENDED && place == CSV_PLAIN)
            return error_set(err, STATUS_CORRUPT, "not valid CSV: text after a closing quote");
        if (place == CSV_FIELD_START)
            column--;
        else if (column == 0 &&
                 (place == CSV_PLAIN || (place == CSV_QUOTED && before != CSV_FIELD_START)))
            buffer_append(field, &c, 1);
    }
    if (place == CSV_QUOTED)
        return error_set(err, STATUS_CORRUPT, "not valid CSV: a quote without its end");
    if (column > 0)
        return error_set(err, STATUS_CORRUPT, "a CSV record with too few columns");
    return field->failed ? error_set(err, STATUS_NO_MEMORY, "no memory for a story") : STATUS_OK;
}

int csv_story_column(const char *text, size_t bytes) {
    enum { MAX_BYTES = 4096, MAX_COLUMNS = 64 }; /* of a header; more is some other text */
    int story = -1;
    struct csv_scan scan = {0};
    if (!csv_scan_record(&scan, text, bytes < MAX_BYTES ? bytes : MAX_BYTES))
        return -1;
    for (int column = 0; column < MAX_COLUMNS; column++) {
        struct buffer name = {0};
        enum status status = csv_field(text, scan.seen, column, &name, NULL);
        bool is_text = status == STATUS_OK && name.size == 4 && memcmp(name.data, "text", 4) == 0;
        bool is_story = status == STATUS_OK && name.size == 5 && memcmp(name.data, "story", 5) == 0;
        buffer_free(&name);
        if (is_story && story < 0)
            story = column;
        if (is_text || status != STATUS_OK)
            return is_text ? column : story;
    }
    return story;
}
