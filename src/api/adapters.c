/* Adapters as programs list them, and what such files are. */
#include "api/api.h"

#include "adapter/embedding.h"
#include "adapter/find.h"
#include "adapter/inspect.h"
#include "checkpoint/checkpoint.h"
#include "core/utf8.h"

#include <stdlib.h>
#include <string.h>

int bl_take_adapters(ballast_adapter **own, ballast_generate_options *o, bl_error *err) {
    const ballast_adapter *given = o->adapters;
    int result = 0;
    *own = NULL;
    if (!o->adapter_count) {
        return 0;
    }
    if (!given || o->adapter_count > BL_MOST_ADAPTERS) {
        return bl_fail(
            err, BL_E_ARGUMENT,
            "adapters: %zu of them; at most %d, and where there are some, `adapters` is their list",
            o->adapter_count, BL_MOST_ADAPTERS);
    }
    ballast_adapter *list = calloc(o->adapter_count, sizeof *list);
    if (!list) {
        return bl_fail_memory(err, "the adapters", o->adapter_count * sizeof *list);
    }
    for (size_t i = 0; i < o->adapter_count && !result; i++) {
        const ballast_adapter *x = (const void *)((const char *)given + i * given->struct_size);
        result = bl_take_adapter(&list[i], x, err);
        if (!result && (x->struct_size != given->struct_size || !list[i].path || !*list[i].path)) {
            result = bl_fail(err, BL_E_ARGUMENT,
                             "adapters[%zu]: no path, or another struct_size than adapters[0]", i);
        }
    }
    if (result) {
        free(list);
        return result;
    }
    o->adapters = *own = list;
    return 0;
}

static json_t *list_json(const bl_found_list *list) {
    json_t *out = json_array();
    for (int i = 0; i < list->count && out; i++) {
        char *name = bl_utf8_copy(list->items[i].name), *path = bl_utf8_copy(list->items[i].path);
        char *alias = bl_found_alias(&list->items[i]);
        json_t *item =
            name && path ? json_pack("{s:s, s:s?, s:s}", "name", name, "alias", alias, "path", path) : NULL;
        free(name);
        free(path);
        free(alias);
        if (json_array_append_new(out, item)) {
            json_decref(out);
            out = NULL;
        }
    }
    return out;
}

static json_t *embeddings_json(const bl_found_list *list) {
    json_t *out = json_array();
    for (int i = 0; i < list->count && out; i++) {
        int vectors, width;
        const char *family;
        if (!bl_embedding_look(&vectors, &width, &family, list->items[i].path)) {
            continue;
        }
        char *name = bl_utf8_copy(list->items[i].name), *path = bl_utf8_copy(list->items[i].path);
        json_t *item = name && path ? json_pack("{s:s, s:s, s:i, s:i, s:s}", "name", name, "path", path,
                                                "vectors", vectors, "width", width, "family", family)
                                    : NULL;
        free(name);
        free(path);
        if (json_array_append_new(out, item)) {
            json_decref(out);
            out = NULL;
        }
    }
    return out;
}

/* What `tell` says of the files in the folders. */
static int list_files(char **json, const char *folders, json_t *(*tell)(const bl_found_list *list),
                      bl_error *err) {
    bl_found_list list;
    int result = bl_find_all(&list, folders, false, err);
    if (result) {
        return result;
    }
    json_t *object = tell(&list);
    bl_found_clear(&list);
    return object ? bl_json_text(json, object, err) : bl_fail_memory(err, "a list of files", 0);
}

int ballast_adapters_list(char **json, const char *folders, ballast_error *err) {
    BL_NEED(json);
    *json = NULL;
    BL_NEED(folders);
    return list_files(json, folders, list_json, err);
}

int ballast_embeddings_list(char **json, const char *folders, ballast_error *err) {
    BL_NEED(json);
    *json = NULL;
    BL_NEED(folders);
    return list_files(json, folders, embeddings_json, err);
}

int ballast_adapter_inspect(char **json, const char *path, ballast_error *err) {
    json_t *object = NULL;
    BL_NEED(json);
    *json = NULL;
    BL_NEED(path);
    int result = bl_adapter_inspect(&object, path, err);
    return result ? result : bl_json_text(json, object, err);
}

int ballast_embedding_inspect(char **json, const char *path, ballast_error *err) {
    int vectors, width;
    const char *family;
    BL_NEED(json);
    *json = NULL;
    BL_NEED(path);
    if (!bl_embedding_look(&vectors, &width, &family, path) || !strncmp(family, "another", 7)) {
        return bl_fail(err, BL_E_FORMAT, "%.400s is no embedding for SD 1.x, SD 2.x or SDXL", path);
    }
    char *name = bl_utf8_copy(path);
    json_t *object = json_pack("{s:s?, s:i, s:i, s:s}", "embedding", name, "vectors", vectors, "width", width,
                               "family", family);
    free(name);
    return bl_json_text(json, object, err);
}

int ballast_taesd_inspect(char **json, const char *path, ballast_error *err) {
    bl_taesd_about a;
    BL_NEED(json);
    *json = NULL;
    BL_NEED(path);
    int result = bl_taesd_inspect(&a, path, err);
    if (result) {
        return result;
    }
    char *name = bl_utf8_copy(path);
    json_t *object = json_pack("{s:s?, s:s, s:i, s:i, s:s, s:i, s:I, s:s?}", "taesd", name, "layout",
                               a.diffusers ? "diffusers" : "authors", "channels", a.channels,
                               "latent_channels", a.latent_channels, "type", a.type, "tensors", a.tensors,
                               "bytes", (json_int_t)a.bytes, "family", a.family);
    free(name);
    return bl_json_text(json, object, err);
}
