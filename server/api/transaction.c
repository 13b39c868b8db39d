#include "server/api/transaction.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/rng.h"
#include "server/api/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void transaction_fail(struct transaction *transaction, enum problem problem, const char *param,
                      const char *message) {
    const struct problem_info *info = problem_info(problem);
    buffer_free(&transaction->answer.body);
    transaction->answer.page = NULL;
    transaction->answer.retry_after_s = info->retry_after_s;
    problem_write(&transaction->answer.body, problem, param, message);
    buffer_append_text(&transaction->answer.body, "\n");
    transaction->answer.http_status = info->http_status;
    transaction->answer.content_type = "application/json";
}

void transaction_fail_with(struct transaction *transaction, const struct error *err) {
    enum problem problem = problem_of_status(err->status);
    if (problem == PROBLEM_INTERNAL)
        log_error("request %s failed: %s", transaction->id, err->message);
    transaction_fail(transaction, problem, err->field, err->message);
}

void transaction_answer(struct transaction *transaction, int http_status,
                        const char *content_type) {
    if (transaction->answer.body.failed) {
        transaction_fail(transaction, PROBLEM_BUSY, NULL, "no memory for the answer");
        return;
    }
    transaction->answer.http_status = http_status;
    transaction->answer.content_type = content_type;
}

void transaction_identify(struct transaction *transaction, const char *wanted) {
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789-_.:";
    size_t length = wanted ? strlen(wanted) : 0;
    if (length > 0 && length < sizeof transaction->id && strspn(wanted, allowed) == length)
        memcpy(transaction->id, wanted, length + 1);
    else
        snprintf(transaction->id, sizeof transaction->id, "%016" PRIx64, rng_entropy());
}

static void log_json(const struct transaction *transaction, double ms, uint64_t bytes_sent,
                     bool complete) {
    struct buffer line = {0};
    buffer_append_text(&line, "{\"time\":\"");
    log_append_time(&line);
    buffer_printf(&line, "\",\"request_id\":\"%s\",\"method\":", transaction->id);
    json_append_text(&line, transaction->method);
    buffer_append_text(&line, ",\"path\":");
    json_append_text(&line, transaction->path);
    buffer_printf(&line, ",\"status\":%d,\"ms\":%.3f,\"bytes\":%" PRIu64 ",\"complete\":%s",
                  transaction->answer.http_status, ms, bytes_sent, complete ? "true" : "false");
    if (transaction->completion) {
        struct completion_summary summary = completion_request_summary(transaction->completion);
        buffer_printf(&line,
                      ",\"prompt_tokens\":%d,\"completion_tokens\":%d,"
                      "\"finish_reason\":\"%s\"",
                      summary.prompt_tokens, summary.completion_tokens,
                      finish_reason_name(summary.finish));
    }
    buffer_append_text(&line, "}\n");
    log_write(&line);
    buffer_free(&line);
}

void transaction_log(const struct transaction *transaction, uint64_t bytes_sent, bool complete) {
    const struct options *options = &transaction->service->options;
    double ms = (double)(clock_now_ns() - transaction->started_ns) / 1e6;
    if (!options->access_log)
        return;
    if (strcmp(options->log_format, "json") == 0) {
        log_json(transaction, ms, bytes_sent, complete);
        return;
    }
    char story[96] = "";
    if (transaction->completion) {
        struct completion_summary summary = completion_request_summary(transaction->completion);
        snprintf(story, sizeof story, " %d+%d tokens %s", summary.prompt_tokens,
                 summary.completion_tokens, finish_reason_name(summary.finish));
    }
    log_info("%s %s %d %.1f ms %" PRIu64 " bytes%s %s%s", transaction->method, transaction->path,
             transaction->answer.http_status, ms, bytes_sent, story, transaction->id,
             complete ? "" : " (cut off)");
}

void transaction_clear(struct transaction *transaction) {
    completion_request_free(transaction->completion);
    transaction->completion = NULL;
    buffer_free(&transaction->body);
    buffer_free(&transaction->answer.body);
}
