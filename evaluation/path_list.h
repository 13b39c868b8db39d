/* path_list.h - the paths of an option that takes several, a comma between them.
 *
 * Nothing is allocated. Thread-safe.
 */
#ifndef ALPACA_EVALUATION_PATH_LIST_H
#define ALPACA_EVALUATION_PATH_LIST_H

#include "base/file.h"
#include "base/status.h"

#include <stdbool.h>

/* Takes the next path off *list, which is NULL behind the last; *got is false then. STATUS_INVALID
 * for an empty or too long one, and the message names `option`, without its dashes. */
enum status path_list_next(const char **list, const char *option, char path[FILE_PATH_BYTES],
                           bool *got, struct error *err);

#endif
