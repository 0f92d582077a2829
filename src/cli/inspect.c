#include "cli/cli.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

static double megabytes(const json_t *object, const char *key) {
    return (double)json_integer_value(json_object_get(object, key)) / 1e6;
}

static const char *string_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "?";
}

static void print_module(const char *name, const json_t *m) {
    printf("%-16s %5" JSON_INTEGER_FORMAT " tensors %9.1f MB %-8s runs in %s, %.1f MB packed", name,
           json_integer_value(json_object_get(m, "tensors")), megabytes(m, "bytes"), string_of(m, "dtypes"),
           string_of(m, "runs_in"), megabytes(m, "packed_bytes"));
    if (megabytes(m, "wide_bytes") > megabytes(m, "packed_bytes")) {
        printf(" as stored, %.1f MB wide", megabytes(m, "wide_bytes"));
    }
    if (json_object_get(m, "arena_bytes")) {
        printf(", arena %.1f MB, smallest %.1f MB", megabytes(m, "arena_bytes"),
               megabytes(m, "smallest_arena_bytes"));
    }
    printf("\n");
}

static void print_blocks(const json_t *m) {
    size_t i;
    const json_t *b;
    json_array_foreach(json_object_get(m, "blocks"), i, b) {
        printf("    %-56s %9.2f MB packed\n", string_of(b, "name"), megabytes(b, "bytes"));
    }
}

static int print_table(const char *text, int blocks) {
    json_t *root = json_loads(text, 0, NULL);
    const char *key;
    json_t *value;
    if (!root) {
        return out_of_memory();
    }
    json_object_foreach(root, key, value) {
        if (json_is_string(value)) {
            printf("%-16s %s\n", key, json_string_value(value));
        } else if (json_is_true(value)) {
            printf("%-16s yes\n", key);
        }
    }
    json_object_foreach(json_object_get(root, "recommended"), key, value) {
        const char *whose = json_string_value(json_object_get(json_object_get(root, "recommended"), "from"));
        if (json_is_number(value)) {
            printf("%-16s %g, recommended by %s\n", key, json_number_value(value),
                   whose ? whose : "the file");
        } else if (json_is_string(value) && strcmp(key, "from")) {
            printf("%-16s %s, of its family\n", key, json_string_value(value));
        }
    }
    printf("\n");
    json_object_foreach(json_object_get(root, "modules"), key, value) {
        print_module(key, value);
        if (blocks) {
            print_blocks(value);
        }
    }
    json_decref(root);
    return 0;
}

/* "1024x768". */
static int read_size(int *width, int *height, const struct settings *s) {
    const char *text = setting_text(s, S_ARENA);
    int used = 0;
    if (sscanf(text, "%6dx%6d%n", width, height, &used) == 2 && !text[used] && *width > 0 && *height > 0) {
        return 0;
    }
    return complain_of(s, S_ARENA, "\"%s\" is no size; write 1024x1024", text);
}

/* A line a fact, those that there are. */
static int print_adapter(const char *text) {
    json_t *root = json_loads(text, 0, NULL), *value;
    const char *key;
    size_t i;
    if (!root) {
        return out_of_memory();
    }
    json_object_foreach(root, key, value) {
        if (json_is_string(value)) {
            printf("%-16s %s\n", key, json_string_value(value));
        }
    }
    json_int_t least = json_integer_value(json_object_get(root, "least_rank"));
    json_int_t most = json_integer_value(json_object_get(root, "most_rank"));
    if (most) {
        printf("%-16s %" JSON_INTEGER_FORMAT " to %" JSON_INTEGER_FORMAT "\n", "rank", least, most);
    }
    printf("%-16s %.1f MB\n", "tensors", megabytes(root, "bytes"));
    json_object_foreach(json_object_get(root, "layers"), key, value) {
        if (json_integer_value(value)) {
            printf("%-16s %" JSON_INTEGER_FORMAT " layers\n", key, json_integer_value(value));
        }
    }
    json_array_foreach(json_object_get(root, "trigger_words"), i, value) {
        printf("%-16s %s\n", i ? "" : "trigger words", json_string_value(value));
    }
    json_decref(root);
    return 0;
}

/* "TAESD, a small decoder", and what its header says. */
static int print_taesd(const char *text) {
    json_t *root = json_loads(text, 0, NULL);
    if (!root) {
        return out_of_memory();
    }
    const char *family = json_string_value(json_object_get(root, "family"));
    bool authors = !strcmp(json_string_value(json_object_get(root, "layout")), "authors");
    printf("%-16s %s\n", "taesd", json_string_value(json_object_get(root, "taesd")));
    printf("%-16s %s\n", "kind", "TAESD, a small decoder for --taesd");
    printf("%-16s %s\n", "family",
           family ? family : "its name does not say; the shapes of SD's and SDXL's are the same");
    printf("%-16s %s\n", "layout", authors ? "of its authors" : "of diffusers");
    printf("%-16s %" JSON_INTEGER_FORMAT ", from latents of %" JSON_INTEGER_FORMAT "\n", "channels",
           json_integer_value(json_object_get(root, "channels")),
           json_integer_value(json_object_get(root, "latent_channels")));
    printf("%-16s %" JSON_INTEGER_FORMAT ", %.1f MB, %s\n", "tensors",
           json_integer_value(json_object_get(root, "tensors")), megabytes(root, "bytes"),
           json_string_value(json_object_get(root, "type")));
    json_decref(root);
    return 0;
}

static int print_embedding(const char *text) {
    json_t *root = json_loads(text, 0, NULL);
    if (!root) {
        return out_of_memory();
    }
    printf("%-16s %s\n", "embedding", json_string_value(json_object_get(root, "embedding")));
    printf("%-16s %s\n", "family", json_string_value(json_object_get(root, "family")));
    printf("%-16s %" JSON_INTEGER_FORMAT ", of %" JSON_INTEGER_FORMAT " numbers\n", "vectors",
           json_integer_value(json_object_get(root, "vectors")),
           json_integer_value(json_object_get(root, "width")));
    json_decref(root);
    return 0;
}

/* True: the file is an adapter, a TAESD or an embedding, and was told of. */
static bool inspect_part(const char *path, const struct settings *s, int *result) {
    static const struct {
        int (*inspect)(char **json, const char *path, ballast_error *err);
        int (*print)(const char *json);
    } kinds[] = {{ballast_adapter_inspect, print_adapter},
                 {ballast_taesd_inspect, print_taesd},
                 {ballast_embedding_inspect, print_embedding}};
    char *json = NULL;
    size_t i = 0;
    while (path && i < 3 && kinds[i].inspect(&json, path, NULL)) {
        i++;
    }
    if (!path || i == 3) {
        return false;
    }
    if (setting_on(s, S_JSON)) {
        printf("%s\n", json);
    } else {
        *result = kinds[i].print(json);
    }
    ballast_string_free(&json);
    return true;
}

int command_inspect(int argc, char **argv) {
    struct settings s;
    struct session session = {0};
    char *json = NULL;
    int width = 0, height = 0;
    ballast_error err = {0};
    int result = settings_load(&s, CMD_INSPECT, 1, argc, argv);
    if (!result && setting_text(&s, S_ARENA)) {
        result = read_size(&width, &height, &s);
    }
    const char *path = s.positional_count ? s.positional[0] : NULL;
    if (!result && inspect_part(path ? path : setting_text(&s, S_MODEL), &s, &result)) {
        settings_free(&s);
        return result;
    }
    if (!result) {
        result = open_session(&session, &s, path, NULL);
    }
    if (!result && ballast_model_inspect(&json, session.model, width, height, &err)) {
        bool size = width && err.code == BALLAST_E_ARGUMENT;
        result = size ? complain_of(&s, S_ARENA, "%s", err.message) : report_error(&s, &err);
    }
    if (json && setting_on(&s, S_JSON)) {
        printf("%s\n", json);
    } else if (json) {
        result = print_table(json, setting_on(&s, S_VERBOSE));
    }
    ballast_string_free(&json);
    close_session(&session);
    settings_free(&s);
    return result;
}
