/* story_reader.h - stories one after another from every format they come in.
 *
 * Accepted are files, "-" for standard input, and folders, whose .txt, .json,
 * .jsonl, .ndjson and .csv files (compressed or not) are read in the order of their
 * names. Files whose name ends in .xz, .gz or .zst are unpacked by running xz,
 * gzip or zstd. What a file holds is found from its first bytes:
 *   [ { or [ "  a JSON array of objects with "text" or "story", or of strings
 *   {           such objects one after another (JSONL)
 *   "           strings one after another, if each line so far is one
 *   a,text,b    CSV, whose first line names a column "text" or "story"
 *   otherwise   text: stories separated by <|endoftext|> if that occurs in the
 *               first STORY_SNIFF_BYTES, one story a line if not; without any LF
 *               there a CR ends a line
 * A file named .json, .jsonl, .ndjson or .csv is never taken for text. A UTF-8
 * byte order mark is skipped; UTF-16 and other files that are known are refused
 * by name.
 * Memory is bounded: one record at a time, of at most STORY_LIMIT_BYTES.
 *
 * Ownership: the caller owns the reader and the buffers. One thread at a time.
 */
#ifndef ALPACA_TRAIN_DATA_STORY_READER_H
#define ALPACA_TRAIN_DATA_STORY_READER_H

#include "base/buffer.h"
#include "base/status.h"

#include <stdbool.h>

#define STORY_SEPARATOR "<|endoftext|>"
#define STORY_SNIFF_BYTES (256 * 1024)
#define STORY_LIMIT_BYTES (4 * 1024 * 1024)

struct story_reader;

enum status story_reader_open(struct story_reader **reader, const char *path, struct error *err);
/* Replaces *story by the next one, its bytes as they are (line breaks, blank
 * stories); *got is false after the last. Errors name the file and the record;
 * after one the reader can only be closed. */
enum status story_reader_next(struct story_reader *reader, struct buffer *story, bool *got,
                              struct error *err);
void story_reader_close(struct story_reader *reader); /* NULL is allowed */

#endif
