#include "server/api/errors.h"

#include "server/api/json.h"

static const struct problem_info problems[] = {
    [PROBLEM_INVALID] = {400, "invalid_request_error", "invalid_request", 0},
    [PROBLEM_UNAUTHORIZED] = {401, "authentication_error", "invalid_api_key", 0},
    [PROBLEM_NOT_FOUND] = {404, "invalid_request_error", "not_found", 0},
    [PROBLEM_NO_MODEL] = {404, "invalid_request_error", "model_not_found", 0},
    [PROBLEM_METHOD] = {405, "invalid_request_error", "method_not_allowed", 0},
    [PROBLEM_TOO_LARGE] = {413, "invalid_request_error", "body_too_large", 0},
    [PROBLEM_TARGET_TOO_LONG] = {414, "invalid_request_error", "address_too_long", 0},
    [PROBLEM_ENCODING] = {415, "invalid_request_error", "unsupported_encoding", 0},
    [PROBLEM_MISDIRECTED] = {421, "invalid_request_error", "unknown_host", 0},
    [PROBLEM_HEADERS_TOO_LARGE] = {431, "invalid_request_error", "headers_too_large", 0},
    [PROBLEM_CODING] = {501, "invalid_request_error", "unsupported_transfer_encoding", 0},
    [PROBLEM_BUSY] = {503, "overloaded_error", "busy", 1},
    [PROBLEM_STOPPING] = {503, "overloaded_error", "stopping", 5},
    [PROBLEM_INTERNAL] = {500, "server_error", "internal", 0},
};

const struct problem_info *problem_info(enum problem problem) {
    return &problems[problem];
}

enum problem problem_of_status(enum status status) {
    switch (status) {
    case STATUS_INVALID: return PROBLEM_INVALID;
    case STATUS_TOO_LARGE: return PROBLEM_TOO_LARGE;
    case STATUS_NOT_FOUND: return PROBLEM_NOT_FOUND;
    case STATUS_BUSY: return PROBLEM_BUSY;
    case STATUS_STOPPED: return PROBLEM_STOPPING;
    case STATUS_NO_MEMORY: return PROBLEM_BUSY; /* a second later there may be memory again */
    case STATUS_OK:
    case STATUS_CORRUPT:
    case STATUS_UNSUPPORTED:
    case STATUS_IO: break;
    }
    return PROBLEM_INTERNAL;
}

void problem_write(struct buffer *out, enum problem problem, const char *param,
                   const char *message) {
    const struct problem_info *info = problem_info(problem);
    buffer_append_text(out, "{\"error\":{\"message\":");
    json_append_text(out, message);
    buffer_printf(out, ",\"type\":\"%s\",\"param\":", info->type);
    if (param && *param)
        json_append_text(out, param);
    else
        buffer_append_text(out, "null");
    buffer_printf(out, ",\"code\":\"%s\"}}", info->code);
}
