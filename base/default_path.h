/* default_path.h - where the commands read and write when an option does not say.
 *
 * A program that was built in the repository uses the repository's folders, whatever the current
 * folder is; an installed one uses the current folder. Thread-safe.
 */
#ifndef ALPACA_BASE_DEFAULT_PATH_H
#define ALPACA_BASE_DEFAULT_PATH_H

#include "base/file.h"

/* Writes `given`, or when that is NULL folder/name. STATUS_INVALID for a path that is too long. */
enum status default_path(char path[FILE_PATH_BYTES], const char *given, const char *folder,
                         const char *name, struct error *err);

#endif
