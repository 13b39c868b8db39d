/* errors.h - how failures look to a client: one table for all of them.
 *
 * Every error answer is {"error":{"message","type","param","code"}}, as OpenAI's
 * clients expect it.
 *
 * Ownership: the table is constant. Thread-safe.
 */
#ifndef ALPACA_SERVER_API_ERRORS_H
#define ALPACA_SERVER_API_ERRORS_H

#include "base/buffer.h"
#include "base/status.h"

enum problem {
    PROBLEM_INVALID,       /* a wrong value, one out of range, or no JSON */
    PROBLEM_UNAUTHORIZED,
    PROBLEM_NOT_FOUND,
    PROBLEM_NO_MODEL,      /* a model that is not the one served */
    PROBLEM_METHOD,
    PROBLEM_TOO_LARGE,
    PROBLEM_TARGET_TOO_LONG,
    PROBLEM_ENCODING,      /* a compressed body */
    PROBLEM_MISDIRECTED,   /* a Host that is not this server's */
    PROBLEM_HEADERS_TOO_LARGE,
    PROBLEM_CODING,        /* an unknown Transfer-Encoding */
    PROBLEM_BUSY,
    PROBLEM_STOPPING,
    PROBLEM_INTERNAL,
};

struct problem_info {
    int http_status;
    const char *type;   /* error.type, shared by similar errors */
    const char *code;   /* error.code, this error's own */
    int retry_after_s;  /* Retry-After header; 0 for none */
};

const struct problem_info *problem_info(enum problem problem);
/* How a function's failure looks to a client. */
enum problem problem_of_status(enum status status);

/* Appends the JSON object {"error":…}; `param` NULL or "" is written as null. */
void problem_write(struct buffer *out, enum problem problem, const char *param,
                   const char *message);

#endif
