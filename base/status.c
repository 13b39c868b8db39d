#include "base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void fill(struct error *err, enum status status, const char *field, const char *format,
                 va_list arguments) {
    if (!err)
        return;
    err->status = status;
    snprintf(err->field, sizeof err->field, "%s", field);
    vsnprintf(err->message, sizeof err->message, format, arguments);
}

enum status error_set(struct error *err, enum status status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fill(err, status, "", format, arguments);
    va_end(arguments);
    return status;
}

enum status error_set_field(struct error *err, enum status status, const char *field,
                            const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fill(err, status, field, format, arguments);
    va_end(arguments);
    return status;
}

enum status error_set_errno(struct error *err, const char *format, ...) {
    int code = errno;
    enum status status = code == ENOENT   ? STATUS_NOT_FOUND
                         : code == ENOMEM ? STATUS_NO_MEMORY
                                          : STATUS_IO;
    va_list arguments;
    va_start(arguments, format);
    fill(err, status, "", format, arguments);
    va_end(arguments);
    if (err) {
        size_t used = strlen(err->message);
        snprintf(err->message + used, sizeof err->message - used, ": %s", strerror(code));
    }
    return status;
}
