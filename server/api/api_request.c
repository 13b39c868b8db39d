#include "server/api/api_request.h"

#include "engine/best_of.h"
#include "server/api/chat.h"
#include "server/api/json.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum field_kind { FIELD_TEXT, FIELD_IDS, FIELD_MESSAGES, /* these must be given */
                  FIELD_PROMPT, FIELD_PROMPTS, FIELD_STOP, FIELD_INT, FIELD_FLOAT, FIELD_SEED,
                  FIELD_BOOL, FIELD_CASE, FIELD_LOGPROBS, FIELD_LOGIT_BIAS, FIELD_STREAM_OPTIONS };

struct field {
    const char *name;
    enum field_kind kind;
    int dialects;
    size_t offset;
    double min, max;
    const char *fallback; /* the default as JSON, for the description; "" when there is none */
    const char *help;
};

#define ALL (API_GENERATE | API_OPENAI)
#define AT(member) offsetof(struct api_request, member)
static const struct field fields[] = {
    {"text", FIELD_TEXT, API_TOKENIZE, 0, 0, 0, "", "What becomes tokens"},
    {"pieces", FIELD_BOOL, API_TOKENIZE, AT(pieces), 0, 0, "false", "List the tokens' texts too"},
    {"add_special", FIELD_BOOL, API_TOKENIZE, AT(add_special), 0, 0, "false",
     "Put the token in front that begins every story"},
    {"tokens", FIELD_IDS, API_DETOKENIZE, 0, 0, 0, "", "Token ids"},
    {"messages", FIELD_MESSAGES, API_CHAT, 0, 0, 0, "",
     "The user's last message is the beginning of the story; all others have no effect"},
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
    {"max_completion_tokens", FIELD_INT, API_CHAT, AT(max_completion_tokens), 0, API_MAX_TOKENS, "",
     "The same; where both are given, the smaller one counts"},
    {"seed", FIELD_SEED, ALL, AT(sampling.seed), -1, (double)SAMPLING_SEED_MAX, "",
     "The same seed, prompt and settings give the same story; drawn when absent or -1"},
    {"stop", FIELD_STOP, ALL, AT(stops), 0, 0, "",
     "Ends the story before this text, in whatever case; one, or a list of up to 4"},
    {"case", FIELD_CASE, API_GENERATE | API_CHAT, AT(capitals), 0, 0, "\"natural\"",
     "natural restores capitals; lower is how the model writes"},
    {"case", FIELD_CASE, API_COMPLETIONS, AT(capitals), 0, 0, "\"lower\"",
     "lower is how the model writes; natural restores capitals"},
    {"n", FIELD_INT, ALL, AT(n), 1, API_MAX_STORIES, "1",
     "Stories to tell of each prompt, together up to 32; story i has the seed seed + i"},
    {"stream", FIELD_BOOL, ALL, AT(stream), 0, 0, "false",
     "Send the story as server-sent events while it is generated"},
    {"truncate", FIELD_BOOL, ALL, AT(truncate), 0, 0, "false",
     "Forget the beginning of a prompt that is too long, instead of refusing it"},
    {"echo", FIELD_BOOL, API_COMPLETIONS, AT(echo), 0, 0, "false", "Repeat the prompt in the text"},
    {"stream_options", FIELD_STREAM_OPTIONS, API_OPENAI, AT(include_usage), 0, 0, "",
     "{\"include_usage\": true} adds a last event with the usage"},
    {"best_of", FIELD_INT, API_GENERATE | API_CHAT, AT(best_of), 1, BEST_OF_MAX, "",
     "Generate so many stories, at least n, and send the n best: those that are whole, whose "
     "tokens have the highest log-probabilities on average, and that repeat themselves least"},
    {"best_of", FIELD_INT, API_COMPLETIONS, AT(best_of), 1, BEST_OF_MAX, "",
     "Generate so many stories of each prompt, at least n and together up to 32, and send the n "
     "whose tokens have the highest log-probabilities on average"},
    {"logprobs", FIELD_LOGPROBS, API_COMPLETIONS, AT(logprobs), 0, TOP_LOGPROBS_MAX, "",
     "Log-probabilities of the tokens generated, and of so many likeliest ones at each place"},
    {"logprobs", FIELD_BOOL, API_CHAT, AT(wants_logprobs), 0, 0, "false",
     "Log-probabilities of the tokens generated"},
    {"top_logprobs", FIELD_INT, API_CHAT, AT(top_logprobs), 0, TOP_LOGPROBS_MAX, "",
     "And of so many likeliest ones at each place; needs logprobs"},
};
enum { FIELD_COUNT = sizeof fields / sizeof *fields };
_Static_assert(FIELD_COUNT <= 64, "one bit says whether a field was given");

/* Fields of OpenAI, vLLM, SGLang and llama.cpp that would change the answer and that this server
 * does not have. They may have a value that changes nothing: one of asks_for_nothing(), or this
 * number (NAN: no number does). */
static const struct {
    const char *name;
    double neutral;
} unsupported[] = {
    {"suffix", NAN}, {"response_format", NAN}, {"tools", NAN}, {"functions", NAN},
    {"tool_choice", NAN}, {"function_call", NAN}, {"modalities", NAN}, {"audio", NAN},
    {"web_search_options", NAN},
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

static bool is_text(const cJSON *value, const char *text) {
    return cJSON_IsString(value) && strcmp(value->valuestring, text) == 0;
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
    return STATUS_OK; /* an empty list means no stop string */
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

/* Which ids there are is for the model to say. */
static enum status read_ids(const struct field *field, const cJSON *list, struct token_list *ids,
                            struct error *err) {
    const cJSON *item;
    cJSON_ArrayForEach(item, list) {
        double number = item->valuedouble;
        if (!cJSON_IsNumber(item) || !(number >= INT32_MIN && number <= INT32_MAX) ||
            number != floor(number))
            return wrong(field, item, "made of token ids", err);
        if (!token_list_append(ids, (int32_t)number))
            return error_set(err, STATUS_NO_MEMORY, "no memory for the tokens");
    }
    return STATUS_OK;
}

static bool is_required(const struct field *field) {
    return field->kind <= FIELD_MESSAGES;
}

static enum status read_required(const struct field *field, const cJSON *value,
                                 struct api_request *request, struct error *err) {
    struct api_prompt *prompt = &request->prompts[0];
    if (field->kind == FIELD_MESSAGES) {
        enum status status = chat_read_messages(value, &request->chat, err);
        if (status == STATUS_OK && request->chat.size > 0)
            *prompt = (struct api_prompt){request->chat.data, request->chat.size, {0}};
        return status;
    }
    if (field->kind == FIELD_TEXT ? !cJSON_IsString(value) : !cJSON_IsArray(value))
        return wrong(field, value, field->kind == FIELD_TEXT ? "a string" : "a list of token ids",
                     err);
    *prompt = (struct api_prompt){.text = value->valuestring};
    if (field->kind == FIELD_IDS)
        return read_ids(field, value, &prompt->ids, err);
    prompt->bytes = strlen(prompt->text);
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
        return wrong(field, value,
                     may_be_ids ? "a string or a list of at least one token id" : "a string", err);
    *prompt = (struct api_prompt){.text = NULL};
    request->prompt_count++; /* so that api_request_free() frees what was read of a wrong list */
    return read_ids(field, value, &prompt->ids, err);
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

static enum status read_case(const struct field *field, const cJSON *value,
                             struct api_request *request, struct error *err) {
    request->capitals = is_text(value, "natural");
    if (request->capitals || is_text(value, "lower"))
        return STATUS_OK;
    if (!cJSON_IsString(value))
        return wrong(field, value, "\"natural\" or \"lower\"", err);
    return error_set_field(err, STATUS_INVALID, field->name,
                           "%s must be \"natural\" or \"lower\", not \"%.32s\"", field->name,
                           value->valuestring);
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
    if (cJSON_IsNull(value) && !is_required(field)) /* many clients send null for "not set" */
        return STATUS_OK;
    switch (field->kind) {
    case FIELD_TEXT:
    case FIELD_IDS:
    case FIELD_MESSAGES: return read_required(field, value, request, err);
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
    case FIELD_CASE: return read_case(field, value, request, err);
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

/* The one field that must be given, or NULL. */
static const struct field *required_field(enum api_dialect dialect) {
    for (int i = 0; i < FIELD_COUNT; i++)
        if ((fields[i].dialects & dialect) && is_required(&fields[i]))
            return &fields[i];
    return NULL;
}

/* Whether a field asks for what happens anyway: null, false, "", [], a response_format of text,
 * tools to choose from where there are none, and text as the only modality. */
static bool asks_for_nothing(const cJSON *member) {
    bool chooses = strcmp(member->string, "tool_choice") == 0 ||
                   strcmp(member->string, "function_call") == 0;
    return cJSON_IsNull(member) || cJSON_IsFalse(member) || is_text(member, "") ||
           (cJSON_IsArray(member) && !member->child) ||
           is_text(cJSON_GetObjectItemCaseSensitive(member, "type"), "text") ||
           (chooses && (is_text(member, "auto") || is_text(member, "none"))) ||
           (strcmp(member->string, "modalities") == 0 && cJSON_GetArraySize(member) == 1 &&
            is_text(member->child, "text"));
}

/* A field that is in no table is OpenAI's own business ("user", "store"), and ignored. */
static enum status check_unsupported(const cJSON *member, struct error *err) {
    bool is_nothing = asks_for_nothing(member);
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
        if (!field && request->dialect & API_OPENAI) {
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
    const struct field *required = required_field(request->dialect);
    if (required && !(seen >> (required - fields) & 1))
        return error_set_field(err, STATUS_INVALID, required->name, "%s is missing",
                               required->name);
    return STATUS_OK;
}

/* Brings a chat's own fields to those of the other dialects. */
static enum status read_chat(struct api_request *request, struct error *err) {
    if (request->max_completion_tokens < request->max_tokens)
        request->max_tokens = request->max_completion_tokens;
    if (request->top_logprobs >= 0 && !request->wants_logprobs)
        return error_set_field(err, STATUS_INVALID, "top_logprobs",
                               "top_logprobs needs logprobs to be true");
    if (request->wants_logprobs)
        request->logprobs = request->top_logprobs > 0 ? request->top_logprobs : 0;
    request->echo = true; /* a message is the whole story */
    return STATUS_OK;
}

static enum status check_together(const struct api_request *request, struct error *err) {
    if (request->prompt_count * request->n > API_MAX_STORIES)
        return error_set_field(err, STATUS_INVALID, "n",
                               "n must be a whole number from 1 to %d with %d prompts, not %d",
                               API_MAX_STORIES / request->prompt_count, request->prompt_count,
                               request->n);
    if (request->best_of && request->best_of < request->n)
        return error_set_field(err, STATUS_INVALID, "best_of",
                               "best_of must be at least n, which is %d, not %d", request->n,
                               request->best_of);
    if (request->prompt_count * request->best_of > API_MAX_STORIES)
        return error_set_field(err, STATUS_INVALID, "best_of",
                               "best_of must be a whole number from 1 to %d with %d prompts, not "
                               "%d",
                               API_MAX_STORIES / request->prompt_count, request->prompt_count,
                               request->best_of);
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
        .max_completion_tokens = API_MAX_TOKENS,
        .n = 1,
        .capitals = dialect != API_COMPLETIONS,
        .logprobs = -1,
        .top_logprobs = -1,
        .tree = tree,
    };
    status = read_members(request, tree, err);
    if (status == STATUS_OK && dialect == API_CHAT)
        status = read_chat(request, err);
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
    buffer_free(&request->chat);
    cJSON_Delete(request->tree);
    memset(request, 0, sizeof *request);
}

static void write_field_schema(struct buffer *out, const struct field *field, int vocab) {
    char ids[96];
    snprintf(ids, sizeof ids, "\"type\":\"array\",\"items\":{\"type\":\"integer\",\"minimum\":0,"
                              "\"maximum\":%d}", vocab - 1);
    switch (field->kind) {
    case FIELD_TEXT: buffer_append_text(out, "\"type\":\"string\""); break;
    case FIELD_IDS: buffer_append_text(out, ids); break;
    case FIELD_MESSAGES: chat_write_schema(out); break;
    case FIELD_PROMPT: buffer_append_text(out, "\"type\":[\"string\",\"null\"]"); break;
    case FIELD_PROMPTS:
        buffer_printf(out, "\"anyOf\":[{\"type\":[\"string\",\"null\"]},{%s,\"minItems\":1},"
                           "{\"type\":\"array\",\"items\":"
                           "{\"anyOf\":[{\"type\":\"string\"},{%s,\"minItems\":1}]},"
                           "\"minItems\":1,\"maxItems\":%d}]",
                      ids, ids, API_MAX_STORIES);
        break;
    case FIELD_BOOL: buffer_append_text(out, "\"type\":[\"boolean\",\"null\"]"); break;
    case FIELD_STREAM_OPTIONS:
        buffer_append_text(out, "\"type\":[\"object\",\"null\"],\"properties\":"
                                "{\"include_usage\":{\"type\":[\"boolean\",\"null\"]}}");
        break;
    case FIELD_CASE: buffer_append_text(out, "\"enum\":[\"natural\",\"lower\",null]"); break;
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
        buffer_printf(out, "\"anyOf\":[{\"type\":[\"string\",\"null\"],\"minLength\":1,"
                           "\"maxLength\":%d},{\"type\":\"array\",\"items\":{\"type\":\"string\","
                           "\"minLength\":1,\"maxLength\":%d},\"maxItems\":%d}]",
                      COMPLETION_MAX_STOP_BYTES, COMPLETION_MAX_STOP_BYTES, COMPLETION_MAX_STOPS);
        break;
    case FIELD_INT:
    case FIELD_SEED:
    case FIELD_FLOAT:
        buffer_printf(out, "\"type\":[\"%s\",\"null\"],\"minimum\":%.16g,\"maximum\":%.16g",
                      field->kind == FIELD_FLOAT ? "number" : "integer", field->min, field->max);
        break;
    }
}

void api_write_schema(struct buffer *out, enum api_dialect dialect, int vocab) {
    const char *separator = "";
    buffer_append_text(out, "{\"type\":\"object\",\"properties\":{");
    for (int i = 0; i < FIELD_COUNT; i++) {
        if (!(fields[i].dialects & dialect))
            continue;
        buffer_printf(out, "%s\"%s\":{", separator, fields[i].name);
        write_field_schema(out, &fields[i], vocab);
        if (*fields[i].fallback)
            buffer_printf(out, ",\"default\":%s", fields[i].fallback);
        buffer_append_text(out, ",\"description\":");
        json_append_text(out, fields[i].help);
        buffer_append_text(out, "}");
        separator = ",";
    }
    buffer_append_text(out, "},\"required\":[");
    const struct field *required = required_field(dialect);
    if (required)
        json_append_text(out, required->name);
    buffer_printf(out, "],\"additionalProperties\":%s}", dialect & API_OPENAI ? "true" : "false");
}
