/* status.h - how a fallible call says what went wrong.
 *
 * Every fallible function returns `enum status` and fills a caller-owned
 * `struct error` (which may be NULL when the caller only needs the code).
 * The error holds no pointers, so it can be copied and outlives every object.
 * Thread-safe: nothing here is shared.
 */
#ifndef ALPACA_BASE_STATUS_H
#define ALPACA_BASE_STATUS_H

enum status {
    STATUS_OK = 0,
    STATUS_INVALID,     /* a value is wrong or out of range; error.field names it */
    STATUS_TOO_LARGE,   /* more than a stated limit */
    STATUS_NOT_FOUND,   /* no such file, path or name */
    STATUS_BUSY,        /* full right now; trying again later can succeed */
    STATUS_STOPPED,     /* shutting down; trying again here cannot succeed */
    STATUS_CORRUPT,     /* a file is not what its format says */
    STATUS_UNSUPPORTED, /* well-formed, but not something we handle */
    STATUS_IO,          /* the operating system failed a read or write */
    STATUS_NO_MEMORY,
};

struct error {
    enum status status;
    char field[48];    /* the offending field or flag; "" when there is none */
    char message[400]; /* one line for a person, without a trailing newline */
};

/* Fills *err (unless NULL) and returns `status`, so that a failing function
 * can end with `return error_set(err, STATUS_IO, "…", …);`. */
enum status error_set(struct error *err, enum status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same, naming the field (request member, flag, config key) at fault. */
enum status error_set_field(struct error *err, enum status status, const char *field,
                            const char *format, ...) __attribute__((format(printf, 4, 5)));

/* error_set(STATUS_IO or STATUS_NOT_FOUND …) with strerror(errno) appended. */
enum status error_set_errno(struct error *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
