/* routes.h - which path does what.
 *
 * Thread-safe: handlers share only the service.
 */
#ifndef ALPACA_SERVER_API_ROUTES_H
#define ALPACA_SERVER_API_ROUTES_H

#include "server/api/transaction.h"

#include <stdbool.h>

enum method { METHOD_GET = 1, METHOD_POST = 2 };

struct route {
    const char *path;
    unsigned methods;
    bool open; /* needs no API key */
    void (*handle)(struct transaction *transaction);
};

/* Sets transaction->route or ->page from the path. */
void routes_find(struct transaction *transaction, const char *path);
/* What can be refused before the body is read: unknown path, wrong method, missing key, a
 * compressed body. True when it was refused (or answered: OPTIONS). */
bool routes_refuse(struct transaction *transaction, const char *authorization,
                   const char *content_encoding);
/* Runs the handler. Afterwards either the answer is there, or a completion is under way. */
void routes_handle(struct transaction *transaction);
/* The path as the metrics know it: an index, and its name (NULL behind the last). */
int routes_label_of(const struct transaction *transaction);
const char *routes_label(int index);
/* The value of an Allow header. */
const char *routes_allow(unsigned methods);

#endif
