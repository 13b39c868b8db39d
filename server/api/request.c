#include "server/api/request.h"

#include "server/api/json.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum field_kind { FIELD_PROMPT, FIELD_PROMPTS, FIELD_STOP, FIELD_INT, FIELD_FLOAT, FIELD_SEED,
                  FIELD_BOOL, FIELD_LOGPROBS, FIELD_LOGIT_BIAS, FIELD_STREAM_OPTIONS };

struct field {
    const char *name;
    enum field_kind kind;
    int dialects;
    size_t offset;
    double min, max;
    const char *fallback; /* the default as JSON, for the description; "" when there is none */
    const char *help;
};

#define ALL (API_GENERATE | API_COMPLETIONS)
#define AT(member) offsetof(struct api_request, member)
static const struct field fields[] = {
    {"prompt", FIELD_PROMPT, API_GENERATE, 0, 0, 0, "\"\"",
     "The beginning of the story; may be empty"},
    {"prompt", FIELD_PROMPTS, API_COMPLETIONS, 0, 0, 0, "\"\"",
     "The beginning of the story as a text or as token ids, or a list of up to 32 such beginnings"},
    {"temperature", FIELD_FLOAT, ALL, AT(sampling.temperature), 0, SAMPLING_TEMPERATURE_MAX, "0.7",
     "How daring the words are; 0 always takes the likeliest"},
    {"top_k", FIELD_INT, ALL, AT(sampling.top_k), 0, SAMPLING_TOP_K_MAX, "0",
     "Only the k likeliest tokens; 0 is off"},
    {"top_p", FIELD_FLOAT, ALL, AT(sampling.top_p), 0, 1, "1",
     "Only the likeliest tokens that together have this probability; 1 is off"},
    {"min_p", FIELD_FLOAT, ALL, AT(sampling.min_p), 0, 1, "0",
     "Only tokens at least this probable, relative to the likeliest; 0 is off"},
    {"repetition_penalty", FIELD_FLOAT, ALL, AT(sampling.repetition_penalty),
     SAMPLING_REPETITION_MIN, SAMPLING_REPETITION_MAX, "1",
     "Above 1 makes words that already occurred less likely"},
    {"presence_penalty", FIELD_FLOAT, ALL, AT(sampling.presence_penalty), -SAMPLING_PENALTY_MAX,
     SAMPLING_PENALTY_MAX, "0",
     "Above 0 makes words that were generated less likely; those of the prompt do not count"},
    {"frequency_penalty", FIELD_FLOAT, ALL, AT(sampling.frequency_penalty), -SAMPLING_PENALTY_MAX,
     SAMPLING_PENALTY_MAX, "0", "The same, once for each time that they were generated"},
    {"logit_bias", FIELD_LOGIT_BIAS, ALL, 0, -SAMPLING_BIAS_MAX, SAMPLING_BIAS_MAX, "",
     "Makes the tokens with these ids likelier or less likely; -100 bans a token, 100 forces it"},
    {"max_tokens", FIELD_INT, ALL, AT(max_tokens), 0, API_MAX_TOKENS, "",
     "The story's length at most; by default, and never beyond, what the model has room for"},
    {"seed", FIELD_SEED, ALL, AT(sampling.seed), -1, (double)API_MAX_SEED, "",
     "The same seed, prompt and settings give the same story; drawn when absent or -1"},
    {"stop", FIELD_STOP, ALL, AT(stops), 0, 0, "",
     "Ends the story before this text; one, or a list of up to 4"},
    {"n", FIELD_INT, ALL, AT(n), 1, API_MAX_STORIES, "1",
     "Stories to tell of each prompt, together up to 32; story i has the seed seed + i"},
    {"stream", FIELD_BOOL, ALL, AT(stream), 0, 0, "false",
     "Send the story as server-sent events while it is generated"},
    {"truncate", FIELD_BOOL, ALL, AT(truncate), 0, 0, "false",
     "Forget the beginning of a prompt that is too long, instead of refusing it"},
    {"echo", FIELD_BOOL, API_COMPLETIONS, AT(echo), 0, 0, "false", "Repeat the prompt in the text"},
    {"stream_options", FIELD_STREAM_OPTIONS, API_COMPLETIONS, AT(include_usage), 0, 0, "",
     "{\"include_usage\": true} adds a last event with the usage"},
    {"best_of", FIELD_INT, API_COMPLETIONS, AT(best_of), 1, API_MAX_STORIES, "",
     "As many as n: stories are not compared"},
    {"logprobs", FIELD_LOGPROBS, API_COMPLETIONS, AT(logprobs), 0, TOP_LOGPROBS_MAX, "",
     "Log-probabilities of the tokens generated, and of so many likeliest ones at each place"},
};
enum { FIELD_COUNT = sizeof fields / sizeof *fields };
_Static_assert(FIELD_COUNT <= 64, "one bit says whether a field was given");

/* What would change the answer, and this server does not have: fields of OpenAI's, vLLM's,
 * SGLang's and llama.cpp's that may ask for nothing only, each with the number that does. */
static const struct {
    const char *name;
    double neutral;
} unsupported[] = {
    {"suffix", NAN}, {"response_format", NAN}, {"tools", NAN}, {"functions", NAN},
    {"json_schema", NAN}, {"grammar", NAN}, {"structured_outputs", NAN}, {"structural_tag", NAN},
    {"guided_json", NAN}, {"guided_regex", NAN}, {"guided_choice", NAN}, {"guided_grammar", NAN},
    {"regex", NAN}, {"ebnf", NAN}, {"allowed_token_ids", NAN}, {"bad_words", NAN},
    {"stop_token_ids", NAN}, {"include_stop_str_in_output", NAN}, {"ignore_eos", NAN},
    {"min_tokens", 0}, {"n_predict", -1}, {"truncate_prompt_tokens", NAN}, {"prompt_embeds", NAN},
    {"prompt_logprobs", NAN}, {"n_probs", 0}, {"return_token_ids", NAN},
    {"return_tokens_as_token_ids", NAN}, {"use_beam_search", NAN}, {"length_penalty", 1},
    {"repeat_penalty", 1}, {"typical_p", 1}, {"tfs_z", 1}, {"top_n_sigma", -1}, {"mirostat", 0},
    {"dynatemp_range", 0}, {"dry_multiplier", 0}, {"xtc_probability", 0}, {"samplers", NAN},
    {"lora", NAN},
};

static const char *type_name(const cJSON *value) {
    if (cJSON_IsString(value))
        return "a string";
    if (cJSON_IsNumber(value))
        return "a number";
    if (cJSON_IsBool(value))
        return "true or false";
    if (cJSON_IsArray(value))
        return "a list";
    return cJSON_IsNull(value) ? "null" : "an object";
}

static enum status wrong(const struct field *field, const cJSON *value, const char *wanted,
                         struct error *err) {
    if (cJSON_IsNumber(value))
        return error_set_field(err, STATUS_INVALID, field->name, "%s must be %s, not %.16g",
                               field->name, wanted, value->valuedouble);
    return error_set_field(err, STATUS_INVALID, field->name, "%s must be %s, not %s", field->name,
                           wanted, type_name(value));
}

static enum status read_number(const struct field *field, const cJSON *value,
                               struct api_request *request, struct error *err) {
    char wanted[96];
    bool whole = field->kind != FIELD_FLOAT;
    snprintf(wanted, sizeof wanted, "a %snumber from %.16g to %.16g", whole ? "whole " : "",
             field->min, field->max);
    double number = value->valuedouble;
    if (!cJSON_IsNumber(value) || !isfinite(number) || number < field->min ||
        number > field->max || (whole && number != floor(number)))
        return wrong(field, value, wanted, err);
    void *target = (char *)request + field->offset;
    if (field->kind == FIELD_FLOAT) {
        *(float *)target = (float)number;
    } else if (field->kind != FIELD_SEED) {
        *(int *)target = (int)number;
    } else if (number >= 0) { /* -1 asks for one that is drawn */
        *(uint64_t *)target = (uint64_t)number;
        request->has_seed = true;
    }
    return STATUS_OK;
}

static enum status read_stop(const struct field *field, const cJSON *value,
                             struct api_request *request, struct error *err) {
    const char *wanted = "a string or a list of 1 to 4 strings, each of 1 to 256 bytes";
    const cJSON *item = cJSON_IsArray(value) ? value->child : value;
    request->stop_count = 0;
    for (; item; item = cJSON_IsArray(value) ? item->next : NULL) {
        size_t bytes = cJSON_IsString(item) ? strlen(item->valuestring) : 0;
        if (bytes < 1 || bytes > COMPLETION_MAX_STOP_BYTES ||
            request->stop_count == COMPLETION_MAX_STOPS)
            return error_set_field(err, STATUS_INVALID, field->name, "%s must be %s", field->name,
                                   wanted);
        request->stops[request->stop_count++] = item->valuestring;
    }
    return STATUS_OK; /* an empty list means no stop text */
}

/* The token id that a member of logit_bias is named, in plain digits; -1: it is none. */
static int32_t id_of_name(const char *name) {
    size_t digits = strspn(name, "0123456789");
    bool plain = digits > 0 && digits < 10 && !name[digits] && (digits == 1 || *name != '0');
    return plain ? (int32_t)strtol(name, NULL, 10) : -1;
}

static enum status read_logit_bias(const struct field *field, const cJSON *value,
                                   struct api_request *request, struct error *err) {
    char wanted[96];
    int size = cJSON_GetArraySize(value), *count = &request->sampling.bias_count;
    snprintf(wanted, sizeof wanted, "an object of up to %d token ids with numbers from %g to %g",
             SAMPLING_BIASES_MAX, field->min, field->max);
    if (!cJSON_IsObject(value) || size > SAMPLING_BIASES_MAX)
        return error_set_field(err, STATUS_INVALID, field->name, "%s must be %s", field->name,
                               wanted);
    request->biases = malloc(((size_t)size + 1) * sizeof *request->biases);
    if (!request->biases)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the biases");
    request->sampling.biases = request->biases;
    const cJSON *item;
    cJSON_ArrayForEach(item, value) {
        int32_t id = id_of_name(item->string);
        bool right = id >= 0 && cJSON_IsNumber(item) && item->valuedouble >= field->min &&
                     item->valuedouble <= field->max;
        for (int i = 0; i < *count; i++)
            right = right && request->biases[i].id != id;
        if (!right)
            return error_set_field(err, STATUS_INVALID, field->name,
                                   "%s must be %s, each once; wrong at \"%.32s\"", field->name,
                                   wanted, item->string);
        request->biases[(*count)++] = (struct logit_bias){id, (float)item->valuedouble};
    }
    return STATUS_OK;
}

static enum status read_ids(const cJSON *list, const char *name, struct token_list *ids,
                            struct error *err) {
    const cJSON *item;
    cJSON_ArrayForEach(item, list) {
        double number = item->valuedouble;
        if (!cJSON_IsNumber(item) || !(number >= 0 && number <= INT32_MAX) ||
            number != floor(number))
            return error_set_field(err, STATUS_INVALID, name, "%s must hold token ids", name);
        if (!token_list_append(ids, (int32_t)number))
            return error_set(err, STATUS_NO_MEMORY, "no memory for the tokens");
    }
    return STATUS_OK;
}

static enum status read_prompt(const struct field *field, const cJSON *value,
                               struct api_request *request, struct error *err) {
    struct api_prompt *prompt = &request->prompts[request->prompt_count];
    bool may_be_ids = field->kind == FIELD_PROMPTS;
    if (cJSON_IsString(value)) {
        *prompt = (struct api_prompt){value->valuestring, strlen(value->valuestring), {0}};
        request->prompt_count++;
        return STATUS_OK;
    }
    if (!may_be_ids || !cJSON_IsArray(value) || !value->child)
        return wrong(field, value, may_be_ids ? "a string or a list of token ids" : "a string",
                     err);
    *prompt = (struct api_prompt){.text = NULL};
    request->prompt_count++; /* so that api_request_free() frees what was read of a wrong list */
    return read_ids(value, field->name, &prompt->ids, err);
}

/* As with OpenAI, a prompt is a text, a list of texts, a list of ids, or a list of lists of ids. */
static enum status read_prompts(const struct field *field, const cJSON *value,
                                struct api_request *request, struct error *err) {
    if (!cJSON_IsArray(value) || cJSON_IsNumber(value->child))
        return read_prompt(field, value, request, err);
    int count = cJSON_GetArraySize(value);
    if (count < 1 || count > API_MAX_STORIES)
        return error_set_field(err, STATUS_INVALID, field->name,
                               "%s must be a string, a list of token ids, or a list of 1 to %d of "
                               "these, not a list of %d",
                               field->name, API_MAX_STORIES, count);
    const cJSON *item;
    cJSON_ArrayForEach(item, value) {
        enum status status = read_prompt(field, item, request, err);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

static enum status read_stream_options(const struct field *field, const cJSON *value,
                                       struct api_request *request, struct error *err) {
    if (!cJSON_IsObject(value))
        return wrong(field, value, "an object", err);
    const cJSON *usage = cJSON_GetObjectItemCaseSensitive(value, "include_usage");
    if (usage && !cJSON_IsNull(usage) && !cJSON_IsBool(usage))
        return error_set_field(err, STATUS_INVALID, "stream_options",
                               "stream_options.include_usage must be true or false");
    request->has_stream_options = true;
    request->include_usage = cJSON_IsTrue(usage);
    return STATUS_OK;
}

static enum status read_field(const struct field *field, const cJSON *value,
                              struct api_request *request, struct error *err) {
    if (cJSON_IsNull(value)) /* many clients send null for "not set" */
        return STATUS_OK;
    switch (field->kind) {
    case FIELD_PROMPT:
    case FIELD_PROMPTS:
        request->prompt_count = 0; /* the empty prompt was the default */
        return field->kind == FIELD_PROMPT ? read_prompt(field, value, request, err)
                                           : read_prompts(field, value, request, err);
    case FIELD_STOP: return read_stop(field, value, request, err);
    case FIELD_INT:
    case FIELD_FLOAT:
    case FIELD_SEED: return read_number(field, value, request, err);
    case FIELD_LOGPROBS: /* false is what chat completions call none */
        return cJSON_IsFalse(value) ? STATUS_OK : read_number(field, value, request, err);
    case FIELD_LOGIT_BIAS: return read_logit_bias(field, value, request, err);
    case FIELD_STREAM_OPTIONS: return read_stream_options(field, value, request, err);
    case FIELD_BOOL:
        if (!cJSON_IsBool(value))
            return wrong(field, value, "true or false", err);
        *(bool *)((char *)request + field->offset) = cJSON_IsTrue(value);
        return STATUS_OK;
    }
    return STATUS_OK;
}

static const struct field *find_field(const char *name, enum api_dialect dialect) {
    for (int i = 0; i < FIELD_COUNT; i++)
        if ((fields[i].dialects & dialect) && strcmp(fields[i].name, name) == 0)
            return &fields[i];
    return NULL;
}

/* A field that is in no table is OpenAI's own business ("user", "store"), and ignored. */
static enum status check_unsupported(const cJSON *member, struct error *err) {
    const cJSON *type = cJSON_GetObjectItemCaseSensitive(member, "type"); /* of a response_format */
    bool is_nothing = cJSON_IsNull(member) || cJSON_IsFalse(member) ||
                      (cJSON_IsString(member) && !*member->valuestring) ||
                      (cJSON_IsArray(member) && !member->child) ||
                      (cJSON_IsString(type) && strcmp(type->valuestring, "text") == 0);
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported && !is_nothing; i++) {
        bool is_neutral = cJSON_IsNumber(member) && member->valuedouble == unsupported[i].neutral;
        if (strcmp(member->string, unsupported[i].name) == 0 && !is_neutral)
            return error_set_field(err, STATUS_INVALID, unsupported[i].name,
                                   "%s is not supported here", unsupported[i].name);
    }
    return STATUS_OK;
}

/* Parses a body whose root must be an object; a blank one means {}. */
static enum status parse_object(const char *body, size_t bytes, cJSON **tree, struct error *err) {
    size_t blank = 0;
    while (blank < bytes && memchr(" \t\r\n", body[blank], 4))
        blank++;
    if (blank == bytes) {
        body = "{}";
        bytes = 2;
    }
    enum status status = json_parse(body, bytes, tree, err);
    if (status != STATUS_OK || cJSON_IsObject(*tree))
        return status;
    error_set(err, STATUS_INVALID, "the body must be a JSON object, not %s", type_name(*tree));
    cJSON_Delete(*tree);
    *tree = NULL;
    return STATUS_INVALID;
}

static enum status read_members(struct api_request *request, const cJSON *tree,
                                struct error *err) {
    uint64_t seen = 0;
    const cJSON *member;
    cJSON_ArrayForEach(member, tree) {
        const struct field *field = find_field(member->string, request->dialect);
        if (!field && request->dialect == API_COMPLETIONS) {
            enum status status = check_unsupported(member, err);
            if (status != STATUS_OK)
                return status;
            continue;
        }
        if (!field)
            return error_set_field(err, STATUS_INVALID, member->string,
                                   "unknown field \"%.64s\"", member->string);
        uint64_t bit = (uint64_t)1 << (field - fields);
        if (seen & bit)
            return error_set_field(err, STATUS_INVALID, field->name, "%s is given twice",
                                   field->name);
        seen |= bit;
        enum status status = read_field(field, member, request, err);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

static enum status check_together(const struct api_request *request, struct error *err) {
    if (request->prompt_count * request->n > API_MAX_STORIES)
        return error_set_field(err, STATUS_INVALID, "n",
                               "n must be a whole number from 1 to %d with %d prompts, not %d",
                               API_MAX_STORIES / request->prompt_count, request->prompt_count,
                               request->n);
    if (request->best_of && request->best_of != request->n)
        return error_set_field(err, STATUS_INVALID, "best_of",
                               "best_of must be n, which is %d, not %d: stories are not compared",
                               request->n, request->best_of);
    if (request->has_stream_options && !request->stream)
        return error_set_field(err, STATUS_INVALID, "stream_options",
                               "stream_options may only be given when stream is true");
    return STATUS_OK;
}

enum status api_request_parse(struct api_request *request, enum api_dialect dialect,
                              const char *body, size_t bytes, struct error *err) {
    cJSON *tree = NULL;
    enum status status = parse_object(body, bytes, &tree, err);
    if (status != STATUS_OK)
        return status;
    *request = (struct api_request){
        .dialect = dialect,
        .prompts = {{.text = ""}},
        .prompt_count = 1,
        .sampling = sampling_defaults(),
        .max_tokens = API_MAX_TOKENS,
        .n = 1,
        .logprobs = -1,
        .tree = tree,
    };
    status = read_members(request, tree, err);
    if (status == STATUS_OK)
        status = check_together(request, err);
    if (status != STATUS_OK)
        api_request_free(request);
    return status;
}

void api_request_free(struct api_request *request) {
    for (int i = 0; i < request->prompt_count; i++)
        token_list_free(&request->prompts[i].ids);
    free(request->biases);
    cJSON_Delete(request->tree);
    memset(request, 0, sizeof *request);
}

/* Parses a body with exactly one member, which then is the tree's child. */
static enum status parse_member(const char *body, size_t bytes, const char *name, cJSON **tree,
                                struct error *err) {
    enum status status = parse_object(body, bytes, tree, err);
    if (status != STATUS_OK)
        return status;
    const cJSON *member = (*tree)->child;
    if (member && strcmp(member->string, name) == 0 && !member->next)
        return STATUS_OK;
    cJSON_Delete(*tree);
    *tree = NULL;
    return error_set_field(err, STATUS_INVALID, name, "the body must have one member, %s", name);
}

enum status api_parse_text(const char *body, size_t bytes, const char *name, cJSON **tree,
                           const char **text, struct error *err) {
    enum status status = parse_member(body, bytes, name, tree, err);
    if (status != STATUS_OK)
        return status;
    *text = (*tree)->child->valuestring;
    if (*text)
        return STATUS_OK;
    error_set_field(err, STATUS_INVALID, name, "%s must be a string, not %s", name,
                    type_name((*tree)->child));
    cJSON_Delete(*tree);
    *tree = NULL;
    return STATUS_INVALID;
}

enum status api_parse_ids(const char *body, size_t bytes, const char *name,
                          struct token_list *ids, struct error *err) {
    cJSON *tree = NULL;
    *ids = (struct token_list){0};
    enum status status = parse_member(body, bytes, name, &tree, err);
    if (status != STATUS_OK)
        return status;
    if (cJSON_IsArray(tree->child))
        status = read_ids(tree->child, name, ids, err);
    else
        status = error_set_field(err, STATUS_INVALID, name,
                                 "%s must be a list of token ids, not %s", name,
                                 type_name(tree->child));
    cJSON_Delete(tree);
    if (status != STATUS_OK)
        token_list_free(ids);
    return status;
}

static void write_field_schema(struct buffer *out, const struct field *field) {
    static const char text_list[] = "{\"type\":\"string\"},{\"type\":\"array\",\"items\":"
                                    "{\"type\":\"string\"},\"maxItems\":";
    static const char id_list[] = "{\"type\":\"array\",\"items\":{\"type\":\"integer\","
                                  "\"minimum\":0},\"minItems\":1}";
    switch (field->kind) {
    case FIELD_PROMPT: buffer_append_text(out, "\"type\":[\"string\",\"null\"]"); break;
    case FIELD_PROMPTS:
        buffer_printf(out, "\"anyOf\":[{\"type\":[\"string\",\"null\"]},%s,"
                           "{\"type\":\"array\",\"items\":"
                           "{\"anyOf\":[{\"type\":\"string\"},%s]},"
                           "\"minItems\":1,\"maxItems\":%d}]",
                      id_list, id_list, API_MAX_STORIES);
        break;
    case FIELD_BOOL: buffer_append_text(out, "\"type\":[\"boolean\",\"null\"]"); break;
    case FIELD_STREAM_OPTIONS: buffer_append_text(out, "\"type\":[\"object\",\"null\"]"); break;
    case FIELD_LOGPROBS:
        buffer_printf(out, "\"anyOf\":[{\"type\":[\"integer\",\"null\"],\"minimum\":%.16g,"
                           "\"maximum\":%.16g},{\"const\":false}]",
                      field->min, field->max);
        break;
    case FIELD_LOGIT_BIAS:
        buffer_printf(out, "\"type\":[\"object\",\"null\"],\"maxProperties\":%d,"
                           "\"propertyNames\":{\"pattern\":\"^(0|[1-9][0-9]{0,8})$\"},"
                           "\"additionalProperties\":{\"type\":\"number\",\"minimum\":%.16g,"
                           "\"maximum\":%.16g}",
                      SAMPLING_BIASES_MAX, field->min, field->max);
        break;
    case FIELD_STOP:
        buffer_printf(out, "\"anyOf\":[%s%d},{\"type\":\"null\"}]", text_list,
                      COMPLETION_MAX_STOPS);
        break;
    case FIELD_INT:
    case FIELD_SEED:
    case FIELD_FLOAT:
        buffer_printf(out, "\"type\":[\"%s\",\"null\"],\"minimum\":%.16g,\"maximum\":%.16g",
                      field->kind == FIELD_FLOAT ? "number" : "integer", field->min, field->max);
        break;
    }
}

void api_write_schema(struct buffer *out, enum api_dialect dialect) {
    const char *separator = "";
    buffer_append_text(out, "{\"type\":\"object\",\"properties\":{");
    for (int i = 0; i < FIELD_COUNT; i++) {
        if (!(fields[i].dialects & dialect))
            continue;
        buffer_printf(out, "%s\"%s\":{", separator, fields[i].name);
        write_field_schema(out, &fields[i]);
        if (*fields[i].fallback)
            buffer_printf(out, ",\"default\":%s", fields[i].fallback);
        buffer_append_text(out, ",\"description\":");
        json_append_text(out, fields[i].help);
        buffer_append_text(out, "}");
        separator = ",";
    }
    buffer_printf(out, "},\"additionalProperties\":%s}",
                  dialect == API_COMPLETIONS ? "true" : "false");
}
