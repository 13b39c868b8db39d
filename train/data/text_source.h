/* text_source.h - the bytes of one file, piece by piece, unpacked on the way.
 *
 * A window of bytes slides over the file: fill it, look at what it holds, skip
 * what is done with. Files named .xz, .gz or .zst are read through a child
 * process running that tool; no shell is involved.
 *
 * Ownership: the source owns the window; pointers into it live until the next
 * fill. Every opened source ends with text_source_close(). One thread at a time.
 */
#ifndef ALPACA_TRAIN_DATA_TEXT_SOURCE_H
#define ALPACA_TRAIN_DATA_TEXT_SOURCE_H

#include "base/buffer.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct text_source {
    const char *path; /* borrowed; "-" is standard input */
    const char *tool; /* what unpacks it, or NULL */
    pid_t child;      /* of the tool; 0 for none */
    int fd;
    struct buffer window;
    size_t begin; /* bytes of the window already skipped */
    bool at_end;  /* nothing will come after what the window holds */
};

enum status text_source_open(struct text_source *source, const char *path, struct error *err);
/* Adds bytes to the window, or finds the end. At the end of an unpacked file
 * this is where the tool's failure (damaged input) becomes an error. */
enum status text_source_fill(struct text_source *source, struct error *err);
/* Fills until the window holds `bytes` or all that is left. */
enum status text_source_want(struct text_source *source, size_t bytes, struct error *err);
void text_source_close(struct text_source *source); /* also after a failed open */

/* What the window holds, and how much of it; text_source_skip() drops bytes of it. */
const char *text_source_data(const struct text_source *source);
size_t text_source_size(const struct text_source *source);
void text_source_skip(struct text_source *source, size_t bytes);

/* The tool that unpacks a file of this name, or NULL. */
const char *text_source_tool(const char *path);

#endif
