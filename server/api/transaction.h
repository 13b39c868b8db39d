/* transaction.h - one HTTP request and its answer, apart from the library that carries them.
 *
 * Handlers (routes.c) read the request's fields and fill in the answer, or
 * leave a completion request that will become the answer. Ownership: the
 * transaction owns its buffers and that request. One thread at a time, except for
 * what completion_request.h allows from others.
 */
#ifndef ALPACA_SERVER_API_TRANSACTION_H
#define ALPACA_SERVER_API_TRANSACTION_H

#include "base/buffer.h"
#include "server/api/completion_request.h"
#include "server/api/errors.h"
#include "server/api/pages.h"
#include "server/service.h"

#include <stdbool.h>
#include <stdint.h>

struct route;

struct answer {
    int http_status; /* 0: none yet */
    const char *content_type;
    struct buffer body;
    const struct page *page; /* the body instead, when not NULL */
    const char *etag;
    int retry_after_s;  /* 0: no such header */
    unsigned allow;     /* methods for an Allow header; 0: no such header */
};

struct transaction {
    struct service *service;
    const struct route *route; /* NULL: unknown path */
    const struct page *page;   /* the path is a page's */
    char method[16];
    char path[128];            /* for the log; cut */
    const char *path_id;       /* what stands in the path for the route's {id} */
    char id[65];               /* X-Request-Id */
    char authority[272];       /* the host that is asked for, and its port; "" for none */
    const char *accept, *if_none_match; /* NULL: no such header */
    struct buffer body;
    bool body_too_large;
    struct answer answer;
    struct completion_request *completion;
    struct completion_host host; /* for completion_request_start() */
    uint64_t started_ns;
};

/* Answer with an error, in the API's form. */
void transaction_fail(struct transaction *transaction, enum problem problem, const char *param,
                      const char *message);
void transaction_fail_with(struct transaction *transaction, const struct error *err);
/* Answer with what answer.body holds; memory that ran out on the way is answered too. */
void transaction_answer(struct transaction *transaction, int http_status, const char *content_type);

/* Takes the client's request id when it is one we can log, else draws one. */
void transaction_identify(struct transaction *transaction, const char *wanted);
/* The access log's line for a finished transaction. */
void transaction_log(const struct transaction *transaction, uint64_t bytes_sent, bool complete);
void transaction_clear(struct transaction *transaction);

#endif
