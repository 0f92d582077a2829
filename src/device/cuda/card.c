#include "device/cuda/card.h"

#include "core/json_text.h"
#include "device/card_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_BYTES (4 << 20) /* of a card's file */
#define MOST_CHOICE 64

static int get_bytes(uint64_t *out, const json_t *o, const char *key, bool needed, const char *origin,
                     bl_error *err) {
    double x = (double)*out;
    int rc = bl_card_number(&x, o, key, needed ? 1 : 0, needed, origin, err);
    *out = (uint64_t)x;
    return rc;
}

static int by_key(const void *a, const void *b) {
    const bl_cuda_choice *x = a, *y = b;
    return (x->key > y->key) - (x->key < y->key);
}

/* ["0123456789abcdef", choice, bytes of scratch] each. */
static int read_choices(bl_cuda_card *c, const json_t *list, const char *origin, bl_error *err) {
    size_t count = json_array_size(list), i;
    json_t *row;
    if (!list) {
        return 0;
    }
    c->choices = calloc(count + 1, sizeof *c->choices);
    if (!c->choices) {
        return bl_fail_memory(err, "a card's plans", count * sizeof *c->choices);
    }
    json_array_foreach(list, i, row) {
        const char *key = json_string_value(json_array_get(row, 0));
        const json_t *choice = json_array_get(row, 1), *bytes = json_array_get(row, 2);
        json_int_t n = json_integer_value(choice), scratch = json_integer_value(bytes);
        if (!key || strlen(key) != 16 || strspn(key, "0123456789abcdef") != 16 || !json_is_integer(choice) ||
            n < -1 || n >= MOST_CHOICE || !json_is_integer(bytes) || scratch < 0 || scratch > 1 << 30) {
            return bl_card_refuse(origin, "plans",
                                  "rows of 16 digits, a proposal's number and bytes of scratch", err);
        }
        c->choices[i] = (bl_cuda_choice){
            .key = strtoull(key, NULL, 16), .choice = (int)n, .workspace_bytes = (uint64_t)scratch};
    }
    c->choice_count = (int)count;
    qsort(c->choices, count, sizeof *c->choices, by_key);
    return json_is_array(list) ? 0 : bl_card_refuse(origin, "plans", "a list", err);
}

static int read_rates(bl_cuda_card *c, const json_t *o, const char *origin, bl_error *err) {
    const json_t *flops = json_object_get(o, "flops");
    double clock = 0;
    int rc = bl_card_number(&clock, o, "clock", 1, false, origin, err);
    rc = rc ? rc : bl_card_number(&c->memory_rate, o, "memory_rate", 1, false, origin, err);
    rc = rc ? rc : bl_card_number(&c->copy_rate, o, "copy_rate", 1, false, origin, err);
    rc = rc ? rc : bl_card_slowdown(&c->copy_slowdown, o, origin, err);
    rc = rc ? rc : bl_card_number(&c->file_rate, o, "file_rate", 1, false, origin, err);
    if (flops && !rc) {
        rc = bl_card_number(&c->flops_f32, flops, "f32", 1, true, origin, err);
        rc = rc ? rc : bl_card_number(&c->flops_bf16, flops, "bf16", 1, true, origin, err);
    }
    if (!rc) {
        bl_cuda_card_guess(c, clock);
    }
    return rc;
}

static int read_versions(bl_cuda_card *c, const json_t *o, const char *origin, bl_error *err) {
    uint64_t cudnn = 0, cublaslt = 0;
    const json_t *properties = json_object_get(o, "properties"), *graphs = json_object_get(o, "graphs");
    int rc = get_bytes(&cudnn, o, "cudnn", false, origin, err);
    rc = rc ? rc : get_bytes(&cublaslt, o, "cublaslt", false, origin, err);
    c->cudnn = (size_t)cudnn;
    c->cublaslt = (size_t)cublaslt;
    c->graphs = json_is_true(graphs);
    if (!rc && properties && !json_is_string(properties) && !json_is_object(properties)) {
        rc = bl_card_refuse(origin, "properties", "cuDNN's description of the card", err);
    } else if (!rc && properties) {
        c->properties = json_is_string(properties) ? strdup(json_string_value(properties))
                                                   : bl_json_dump(properties, JSON_COMPACT);
        rc = c->properties ? 0 : bl_fail_memory(err, "a card's properties", json_string_length(properties));
    }
    return rc || !graphs || json_is_boolean(graphs) ? rc
                                                    : bl_card_refuse(origin, "graphs", "true or false", err);
}

static int read_fields(bl_cuda_card *c, const json_t *o, const char *origin, bl_error *err) {
    const json_t *name = json_object_get(o, "name");
    double sm = 0, processors = 0;
    int rc = json_is_string(name) ? 0 : bl_card_refuse(origin, "name", "the card's name", err);
    rc = rc ? rc : bl_card_number(&sm, o, "sm", 10, true, origin, err);
    rc = rc ? rc : bl_card_number(&processors, o, "processors", 1, true, origin, err);
    rc = rc ? rc : get_bytes(&c->memory_bytes, o, "memory_bytes", true, origin, err);
    rc = rc ? rc : get_bytes(&c->own_bytes, o, "own_bytes", false, origin, err);
    rc = rc ? rc : get_bytes(&c->host_bytes, o, "host_bytes", false, origin, err);
    if (!rc && (sm > 999 || processors > 4096)) {
        rc = bl_card_refuse(origin, sm > 999 ? "sm" : "processors", "that of a card: 90 is SM 9.0", err);
    }
    if (!rc) {
        c->major = (int)sm / 10;
        c->minor = (int)sm % 10;
        c->processors = (int)processors;
        snprintf(c->name, sizeof c->name, "%s", json_string_value(name));
    }
    rc = rc ? rc : read_rates(c, o, origin, err);
    rc = rc ? rc : read_versions(c, o, origin, err);
    return rc ? rc : read_choices(c, json_object_get(o, "plans"), origin, err);
}

int bl_cuda_card_parse(bl_cuda_card *out, const char *text, size_t length, const char *origin,
                       bl_error *err) {
    static const char *const known[] = {
        "name",      "sm",         "processors",  "memory_bytes", "own_bytes", "host_bytes",
        "copy_rate", "file_rate",  "memory_rate", "flops",        "graphs",    "cudnn",
        "cublaslt",  "properties", "plans",       "clock",        "sources",   "copy_slowdown"};
    bl_cuda_card card = {0};
    json_t *root;
    *out = card;
    int rc = bl_card_parse(&root, text, length, known, sizeof known / sizeof *known, origin, err);
    rc = rc ? rc : read_fields(&card, root, origin, err);
    json_decref(root);
    if (rc) {
        bl_cuda_card_free(&card);
        return rc;
    }
    *out = card;
    return 0;
}

int bl_cuda_card_load(bl_cuda_card *out, const char *path, bl_error *err) {
    char *text;
    size_t length;
    *out = (bl_cuda_card){0};
    int rc = bl_card_read(&text, &length, path, MOST_BYTES, err);
    rc = rc ? rc : bl_cuda_card_parse(out, text, length, path, err);
    free(text);
    return rc;
}

void bl_cuda_card_free(bl_cuda_card *c) {
    free(c->properties);
    free(c->choices);
    c->properties = NULL;
    c->choices = NULL;
    c->choice_count = 0;
}

const bl_cuda_choice *bl_cuda_card_choice(const bl_cuda_card *c, uint64_t key) {
    bl_cuda_choice wanted = {.key = key};
    return c->choice_count ? bsearch(&wanted, c->choices, (size_t)c->choice_count, sizeof *c->choices, by_key)
                           : NULL;
}

void bl_cuda_card_guess(bl_cuda_card *c, double clock) {
    /* Multiplications and additions of each processor and clock, dense, with sums in F32. */
    bool large = c->minor == 0 && c->major < 12; /* 8.0, 9.0, 10.0: cards of data centers */
    double bf16 = !large ? 512 : c->major == 8 ? 2048 : c->major == 9 ? 4096 : 8192;
    double f32 = c->major == 8 && c->minor == 0 ? 128 : 256;
    double all = c->processors * (clock > 0 ? clock : 1.7e9), share = large && c->major > 8 ? 0.3 : 0.55;
    c->flops_bf16 = c->flops_bf16 > 0 ? c->flops_bf16 : bf16 * all * share;
    c->flops_f32 = c->flops_f32 > 0 ? c->flops_f32 : f32 * all * share;
    c->memory_rate = c->memory_rate > 0 ? c->memory_rate : 5e11;
    c->copy_rate = c->copy_rate > 0 ? c->copy_rate : c->major >= 9 ? 45e9 : 20e9; /* PCIe 5.0 x16, or 4.0 */
}
