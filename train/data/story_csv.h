/* story_csv.h - finding and reading the records of a CSV file (RFC 4180).
 *
 * Commas stand between fields; a field in quotes may hold commas, line breaks, and doubled quotes.
 * Thread-safe.
 */
#ifndef ALPACA_TRAIN_DATA_STORY_CSV_H
#define ALPACA_TRAIN_DATA_STORY_CSV_H

#include "base/buffer.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

enum csv_place { CSV_FIELD_START, CSV_PLAIN, CSV_QUOTED, CSV_QUOTE_ENDED };

/* Looks for the end of a record that may arrive in parts: start from {0}. */
struct csv_scan {
    size_t seen; /* bytes looked at so far */
    enum csv_place place;
};

/* Goes on over text[bytes], which begins with the record in every call. True once the record is
 * text[0 .. scan->seen), its line end (LF or CR) included. */
bool csv_scan_record(struct csv_scan *scan, const char *text, size_t bytes);

/* Which column of the header that text[bytes] begins with is named "text", or else "story", from 0;
 * -1 when none is. */
int csv_story_column(const char *text, size_t bytes);

/* Appends the record's field `column`. STATUS_CORRUPT: there is none, or its quotes are wrong. */
enum status csv_field(const char *record, size_t bytes, int column, struct buffer *field,
                      struct error *err);

#endif
