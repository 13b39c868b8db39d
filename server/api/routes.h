/* routes.h - which path does what.
 *
 * Ownership: the table of routes is constant; a transaction belongs to its
 * caller. Thread-safe for different transactions, which share only the service.
 */
#ifndef ALPACA_SERVER_API_ROUTES_H
#define ALPACA_SERVER_API_ROUTES_H

#include "server/api/transaction.h"

#include <stdbool.h>

enum method { METHOD_GET = 1, METHOD_POST = 2 };

struct route {
    const char *path; /* one that ends in {id} stands for many */
    unsigned methods;
    bool open; /* needs no API key */
    void (*handle)(struct transaction *transaction);
};

/* Sets transaction->route or ->page from the path; neither, when there is nothing at this path. */
void routes_find(struct transaction *transaction, const char *path);
/* Refuses what can be refused before the body is read: a strange host, an unknown path, a wrong
 * method, a missing key, a compressed body. True when the answer is there, which OPTIONS has at
 * once too. */
bool routes_refuse(struct transaction *transaction, const char *authorization,
                   const char *content_encoding);
/* Runs the handler, which fills in transaction->answer or starts transaction->completion. */
void routes_handle(struct transaction *transaction);
/* The path's label in the metrics: an index, and its name (NULL behind the last). */
int routes_label_of(const struct transaction *transaction);
const char *routes_label(int index);
/* The value of an Allow header. */
const char *routes_allow(unsigned methods);

#endif
