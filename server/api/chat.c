#include "server/api/chat.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <string.h>

static const char *const roles[] = {"system", "developer", "user", "assistant", "tool", "function"};
enum { ROLE_COUNT = sizeof roles / sizeof *roles };

static bool is_role(const cJSON *role, const char *name) {
    return cJSON_IsString(role) && strcmp(role->valuestring, name) == 0;
}

/* A member of a message or of one of its parts; NULL: there is none. Two are an error: a filter in
 * front of this server might read the other one. */
static enum status find(const cJSON *object, const char *name, int index, const cJSON **found,
                        struct error *err) {
    const cJSON *member = cJSON_IsObject(object) ? object->child : NULL;
    for (*found = NULL; member; member = member->next) {
        if (strcmp(member->string, name) != 0)
            continue;
        if (*found)
            return error_set_field(err, STATUS_INVALID, "messages",
                                   "messages[%d] has %s twice", index, name);
        *found = member;
    }
    return STATUS_OK;
}

static enum status check_role(const cJSON *role, int index, struct error *err) {
    for (int i = 0; i < ROLE_COUNT; i++)
        if (is_role(role, roles[i]))
            return STATUS_OK;
    return error_set_field(err, STATUS_INVALID, "messages",
                           "messages[%d] must be an object whose role is system, developer, user, "
                           "assistant, tool or function",
                           index);
}

static enum status append_part(const cJSON *part, int index, struct buffer *text,
                               struct error *err) {
    const cJSON *type, *own = NULL;
    enum status status = find(part, "type", index, &type, err);
    if (status == STATUS_OK)
        status = find(part, "text", index, &own, err);
    if (status != STATUS_OK)
        return status;
    if (!is_role(type, "text"))
        return error_set_field(err, STATUS_INVALID, "messages",
                               "messages[%d].content may have parts of type text only, not %.64s",
                               index, cJSON_IsString(type) ? type->valuestring : "without a type");
    if (!cJSON_IsString(own))
        return error_set_field(err, STATUS_INVALID, "messages",
                               "messages[%d].content has a part whose text is no string", index);
    buffer_append_text(text, own->valuestring);
    return STATUS_OK;
}

static enum status append_content(const cJSON *content, int index, struct buffer *text,
                                  struct error *err) {
    if (cJSON_IsString(content)) {
        buffer_append_text(text, content->valuestring);
        return STATUS_OK;
    }
    if (!cJSON_IsArray(content) || !content->child)
        return error_set_field(err, STATUS_INVALID, "messages",
                               "messages[%d].content must be a string or a list of parts of type "
                               "text",
                               index);
    const cJSON *part;
    cJSON_ArrayForEach(part, content) {
        enum status status = append_part(part, index, text, err);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

enum status chat_read_messages(const cJSON *messages, struct buffer *text, struct error *err) {
    const cJSON *message, *last = NULL;
    int index = 0, last_index = 0;
    if (messages && !cJSON_IsArray(messages))
        return error_set_field(err, STATUS_INVALID, "messages", "messages must be a list");
    cJSON_ArrayForEach(message, messages) {
        const cJSON *role;
        enum status status = find(message, "role", index, &role, err);
        if (status == STATUS_OK)
            status = check_role(role, index, err);
        if (status != STATUS_OK)
            return status;
        if (is_role(role, "user")) {
            last = message;
            last_index = index;
        }
        index++;
    }
    if (!last)
        return error_set_field(err, STATUS_INVALID, "messages",
                               "messages must have one of the role user: its text begins the "
                               "story");
    const cJSON *content;
    enum status status = find(last, "content", last_index, &content, err);
    if (status == STATUS_OK)
        status = append_content(content, last_index, text, err);
    if (status == STATUS_OK && text->failed)
        status = error_set(err, STATUS_NO_MEMORY, "no memory for the messages");
    return status;
}

void chat_write_schema(struct buffer *out) {
    buffer_append_text(out, "\"type\":\"array\",\"items\":{\"type\":\"object\",\"required\":"
                            "[\"role\"],\"properties\":{\"role\":{\"enum\":[");
    for (int i = 0; i < ROLE_COUNT; i++)
        buffer_printf(out, "%s\"%s\"", i ? "," : "", roles[i]);
    buffer_append_text(out, "]},\"content\":{\"description\":\"A text, or a list of "
                            "{\\\"type\\\": \\\"text\\\", \\\"text\\\": …}\"}}},"
                            "\"contains\":{\"properties\":{\"role\":{\"const\":\"user\"},"
                            "\"content\":{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"array\","
                            "\"minItems\":1,\"items\":{\"type\":\"object\",\"required\":"
                            "[\"type\",\"text\"],\"properties\":{\"type\":{\"const\":\"text\"},"
                            "\"text\":{\"type\":\"string\"}}}}]}},"
                            "\"required\":[\"role\",\"content\"]}");
}
