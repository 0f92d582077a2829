#include "pipeline/adapters.h"

#include "adapter/find.h"
#include "core/decimal.h"
#include "core/utf8.h"
#include "text/adapter_tags.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_STRENGTH 1e6
#define HASH_DIGITS 12 /* of A1111's "Lora hashes" */

void bl_adapters_clear(bl_adapters *a) {
    for (int i = 0; i < a->count; i++) {
        bl_adapter_drop(&a->list[i].adapter);
    }
    a->count = a->listed = 0;
}

static void tell_unmatched(const bl_adapter *a, const bl_log *log) {
    char names[640] = "";
    for (int i = 0; i < a->unmatched && i < BL_ADAPTER_NAMED; i++) {
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s\"%.180s\"", i ? ", " : "", a->first_unmatched[i]);
    }
    if (a->unmatched) {
        bl_log_line(log, BL_LOG_WARNING,
                    "adapter %s: %d keys match no layer of this model and do nothing: %s%s", a->name,
                    a->unmatched, names, a->unmatched > BL_ADAPTER_NAMED ? ", ..." : "");
    }
}

static int add(bl_adapters *out, bl_shelf *shelf, const char *path, double text, double denoiser,
               const bl_log *log, bl_error *err) {
    if (out->count == BL_MOST_ADAPTERS) {
        return bl_fail(err, BL_E_ARGUMENT, "more than %d adapters for one picture", BL_MOST_ADAPTERS);
    }
    if (!(fabs(text) <= MOST_STRENGTH) || !(fabs(denoiser) <= MOST_STRENGTH)) {
        return bl_fail(err, BL_E_ARGUMENT, "adapter %.300s: strengths are numbers up to %g", path,
                       MOST_STRENGTH);
    }
    bl_wanted *w = &out->list[out->count];
    int rc = bl_shelf_take(&w->adapter, shelf, path, err);
    if (!rc) {
        w->text = text;
        w->denoiser = denoiser;
        out->count++;
        tell_unmatched(w->adapter, log);
    }
    return rc;
}

static int add_listed(bl_adapters *out, bl_shelf *shelf, const ballast_generate_options *o, const bl_log *log,
                      bl_error *err) {
    int rc = 0;
    for (size_t i = 0; i < o->adapter_count && !rc; i++) {
        const ballast_adapter *x = &o->adapters[i];
        rc = add(out, shelf, x->path, x->text, x->denoiser, log, err);
    }
    out->listed = out->count;
    return rc;
}

int bl_folders_beside(char **out, const bl_checkpoint *ckpt, const char *given, const char *name,
                      bl_error *err) {
    const char *path = bl_checkpoint_path(ckpt);
    size_t n = strlen(path);
    *out = NULL;
    while (n > 1 && path[n - 1] == '/') {
        n--;
    }
    while (n && path[n - 1] != '/') {
        n--;
    }
    if (given) {
        *out = strdup(given);
    } else if (asprintf(out, "%.*s%s", (int)n, path, name) < 0) {
        *out = NULL;
    }
    return *out ? 0 : bl_fail_memory(err, "a list of folders", strlen(path));
}

static int add_named(bl_adapters *out, bl_shelf *shelf, const bl_checkpoint *ckpt, const char *tag,
                     size_t length, const ballast_generate_options *o, const bl_log *log, bl_error *err) {
    bl_adapter_call call;
    char *folders = NULL, *path = NULL;
    bl_error missing = {0};
    int rc = bl_adapter_tag_read(&call, tag, length, err);
    if (!rc && !call.lora) {
        bl_log_line(log, BL_LOG_WARNING, "prompt: %.*s is left out: of such tags <lora:NAME> is read",
                    length > 100 ? 100 : (int)length, tag);
    }
    if (rc || !call.lora) {
        return rc;
    }
    rc = bl_folders_beside(&folders, ckpt, o->adapter_folders, "lora", err);
    if (!rc) {
        rc = bl_find_named(&path, folders, call.name, "adapter", &missing);
        bool leave = o->missing_adapters && !strcmp(o->missing_adapters, "leave");
        if (rc == BL_E_NOT_FOUND && leave) {
            bl_log_line(log, BL_LOG_WARNING, "%s: the picture is made without it", missing.message);
            rc = 0;
        } else if (rc) {
            bl_fail(err, rc, "%s", missing.message);
        }
    }
    rc = rc || !path ? rc : add(out, shelf, path, call.text, call.denoiser, log, err);
    free(folders);
    free(path);
    return rc;
}

/* Adapters hold for the whole picture: in a negative prompt they do nothing, as in A1111. */
static void tell_negative(const ballast_generate_options *o, const bl_log *log) {
    size_t length;
    const char *tag = o->negative_prompt ? bl_adapter_tag(o->negative_prompt, &length) : NULL;
    if (tag) {
        bl_log_line(
            log, BL_LOG_WARNING,
            "negative: %.*s is left out and does nothing: adapters hold for the whole picture, by a tag in "
            "the prompt",
            length > 100 ? 100 : (int)length, tag);
    }
}

int bl_adapters_open(bl_adapters *out, bl_shelf *shelf, const bl_checkpoint *ckpt,
                     const ballast_generate_options *o, const bl_log *log, bl_error *err) {
    bl_adapters own = {.count = 0};
    size_t length;
    if (o->missing_adapters && strcmp(o->missing_adapters, "refuse") != 0 &&
        strcmp(o->missing_adapters, "leave") != 0) {
        return bl_fail(err, BL_E_NOT_FOUND, "missing-adapters: not \"%.40s\"; there are refuse and leave",
                       o->missing_adapters);
    }
    int rc = add_listed(&own, shelf, o, log, err);
    for (const char *p = o->prompt; !rc && (p = bl_adapter_tag(p, &length)); p += length) {
        rc = add_named(&own, shelf, ckpt, p, length, o, log, err);
    }
    if (rc) {
        bl_adapters_clear(&own);
        return rc;
    }
    tell_negative(o, log);
    *out = own;
    return 0;
}

void bl_adapters_show(const bl_adapters *a, const bl_log *log) {
    for (int i = 0; i < a->count; i++) {
        const bl_wanted *w = &a->list[i];
        bl_log_line(log, BL_LOG_INFO, "adapter %s: %d layers; text %g, denoiser %g", w->adapter->name,
                    w->adapter->count, w->text, w->denoiser);
    }
}

int bl_adapters_describe(char **prompt, char **hashes, const bl_adapters *a, const char *given,
                         bl_error *err) {
    size_t bytes[2];
    *prompt = *hashes = NULL;
    FILE *p = open_memstream(prompt, &bytes[0]), *h = open_memstream(hashes, &bytes[1]);
    if (p && h) {
        fputs(given, p);
        for (int i = 0; i < a->listed; i++) {
            const bl_wanted *w = &a->list[i];
            const char *blank = i || *given ? " " : "";
            char text[BL_DECIMAL_TEXT], denoiser[BL_DECIMAL_TEXT];
            bl_decimal_text(text, w->text);
            bl_decimal_text(denoiser, w->denoiser);
            bool same = !strcmp(text, denoiser);
            fprintf(p, "%s<lora:%s:%s%s%s>", blank, w->adapter->name, text, same ? "" : ":",
                    same ? "" : denoiser);
        }
        for (int i = 0; i < a->count; i++) {
            bool again = false;
            for (int k = 0; k < i; k++) {
                again = again || a->list[k].adapter == a->list[i].adapter;
            }
            if (!again) {
                fprintf(h, "%s%s: %.*s", i ? ", " : "", a->list[i].adapter->name, HASH_DIGITS,
                        a->list[i].adapter->hash);
            }
        }
    }
    int bad = (p ? fclose(p) : 1) | (h ? fclose(h) : 1);
    if (bad) {
        free(*prompt);
        free(*hashes);
        *prompt = *hashes = NULL;
        return bl_fail_memory(err, "the picture's parameters", strlen(given));
    }
    return 0;
}

json_t *bl_adapters_json(const bl_adapters *a) {
    json_t *list = json_array();
    for (int i = 0; i < a->count && list; i++) {
        const bl_adapter *x = a->list[i].adapter;
        char *path = bl_utf8_copy(x->path);
        json_t *item =
            json_pack("{s:s, s:s, s:f, s:f, s:i, s:I, s:s, s:i}", "name", x->name, "path", path ? path : "",
                      "text", a->list[i].text, "denoiser", a->list[i].denoiser, "layers", x->count, "bytes",
                      (json_int_t)x->bytes, "hash", x->hash, "unmatched", x->unmatched);
        free(path);
        if (json_array_append_new(list, item)) {
            json_decref(list);
            list = NULL;
        }
    }
    return list;
}
