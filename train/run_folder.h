/* run_folder.h - the folder of a training run: one process at a time, no litter.
 *
 * The lock is the operating system's (flock), so a killed run never leaves one
 * behind. Temporaries that a killed run left are removed once the lock is held.
 * Ownership: the caller closes what it opened. Not thread-safe.
 */
#ifndef ALPACA_TRAIN_RUN_FOLDER_H
#define ALPACA_TRAIN_RUN_FOLDER_H

#include "base/status.h"

#include <stddef.h>

struct run_folder {
    int lock; /* file descriptor + 1; 0: not held */
};

/* Creates the folder when missing. STATUS_BUSY when another process has it. */
enum status run_folder_open(struct run_folder *folder, const char *path, struct error *err);
void run_folder_close(struct run_folder *folder); /* a zeroed one is allowed */

/* Removes what an interrupted file_writer left of `file` in the folder `path`. */
void run_folder_sweep(const char *path, const char *file);

#endif
