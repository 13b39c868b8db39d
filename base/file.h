/* file.h - reading whole files and replacing files without ever losing one.
 *
 * Ownership: a mapping or a writer belongs to whoever opened it. Each object
 * is used by one thread at a time.
 */
#ifndef ALPACA_BASE_FILE_H
#define ALPACA_BASE_FILE_H

#include "base/buffer.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum { FILE_PATH_BYTES = 4096 }; /* with the NUL; Linux opens nothing that is longer */

/* Copies a path. STATUS_INVALID when it is too long, so that no path is ever cut. */
enum status file_path_set(char path[FILE_PATH_BYTES], const char *from, struct error *err);
/* Writes folder/name; STATUS_INVALID as above. */
enum status file_join(char path[FILE_PATH_BYTES], const char *folder, const char *name,
                      struct error *err);

/* Appends the file's bytes to *buffer; STATUS_TOO_LARGE above limit_bytes. */
enum status file_read(const char *path, size_t limit_bytes, struct buffer *buffer,
                      struct error *err);

/* STATUS_INVALID says what else `path` is: a folder, a pipe (which may never end), a device. */
enum status file_check_regular(const char *path, struct error *err);

/* A read-only view of a regular file. */
struct file_map {
    const unsigned char *data;
    size_t size;
};
enum status file_map_open(struct file_map *map, const char *path, struct error *err);
void file_map_close(struct file_map *map);

/* Replaces `path` in one step: what is written goes to a temporary beside it,
 * file_writer_commit() syncs and renames it over `path`, and until then the
 * old file is untouched. Every open writer ends with commit or abort. */
struct file_writer {
    FILE *stream; /* for fwrite/fprintf; errors are caught at commit */
    char path[FILE_PATH_BYTES];
    char temporary[FILE_PATH_BYTES + 16];
};
enum status file_writer_open(struct file_writer *writer, const char *path, struct error *err);
enum status file_writer_commit(struct file_writer *writer, struct error *err);
void file_writer_abort(struct file_writer *writer); /* also after a failed open or commit */
/* The same for a file whose bytes are all there. */
enum status file_replace(const char *path, const void *bytes, size_t size, struct error *err);
/* The same with the bytes of the regular file `from`. */
enum status file_copy(const char *from, const char *path, struct error *err);

/* Creates the folder and its missing parents. */
enum status file_make_folder(const char *path, struct error *err);
bool file_exists(const char *path);
/* Whether both paths lead to one and the same file or folder. */
bool file_same(const char *path, const char *other);
/* The running program's own file, as far as the system tells; *by_loader when it was started
 * through the dynamic loader, as in "ld.so ./program", and cannot be started by its name alone. */
bool file_program(char path[FILE_PATH_BYTES], bool *by_loader);
/* The folder of the running program, so that an installed one finds what belongs to it. */
bool file_program_folder(char path[FILE_PATH_BYTES]);
/* The closest folder above the program's that holds the file `name`; false when none does. */
bool file_program_root(char path[FILE_PATH_BYTES], const char *name);

#endif
