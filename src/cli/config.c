#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

static const char *const origins[] = {"default", "config file", "environment", "picture", "command line"};

static json_t *typed(const struct settings *s, enum setting_id id) {
    const char *text = setting_text(s, id);
    if (!text) {
        return json_null();
    }
    switch (setting_table[id].kind) {
    case SET_INT:
        return json_integer(setting_int(s, id));
    case SET_NUMBER:
        return json_real(setting_number(s, id));
    case SET_SWITCH:
        return json_boolean(setting_on(s, id));
    case SET_FILES: {
        const char **files = setting_files(s, id);
        json_t *list = json_array();
        for (int i = 0; files && files[i]; i++) {
            json_array_append_new(list, json_name(files[i]));
        }
        free(files);
        return list;
    }
    default:
        return json_name(text);
    }
}

static int print_all(const struct settings *s) {
    json_t *all = json_object();
    bool fine = all;
    for (int i = 0; i < S_COUNT_OF_SETTINGS && fine; i++) {
        enum setting_origin origin = s->value[i].origin;
        const char *from = s->value[i].text ? origins[origin] : "not set";
        fine = !json_object_set_new(
            all, setting_table[i].name,
            json_pack("{s:o, s:s}", "value", typed(s, (enum setting_id)i), "from", from));
    }
    json_t *path = s->config_path ? json_name(s->config_path) : json_null();
    json_t *root = json_pack("{s:o, s:o}", "config_file", path, "settings", all);
    if (!fine) {
        json_decref(root);
    }
    return print_json(fine ? root : NULL);
}

/* "name = value"; of several files, a line each. */
static void print_line(const struct settings *s, enum setting_id id) {
    for (const char *text = s->value[id].text; text;) {
        const char *end = setting_table[id].kind == SET_FILES ? strchr(text, '\n') : NULL;
        printf("%s%s = %.*s\n", id == S_CONFIG ? "# " : "", setting_table[id].name,
               end ? (int)(end - text) : (int)strlen(text), text);
        text = end ? end + 1 : NULL;
    }
}

/* What is printed can be used as a config file: where values come from stands in comments. */
static void print_lines(const struct settings *s) {
    printf("# config file: %s\n", s->config_path ? s->config_path : "none");
    for (int origin = FROM_COMMAND_LINE; origin >= FROM_DEFAULT; origin--) {
        bool any = false;
        for (int i = 0; i < S_COUNT_OF_SETTINGS; i++) {
            if (!s->value[i].text || (int)s->value[i].origin != origin) {
                continue;
            }
            if (!any) {
                printf("\n# from the %s\n", origin == FROM_DEFAULT ? "defaults" : origins[origin]);
            }
            any = true;
            print_line(s, (enum setting_id)i);
        }
    }
    printf("\n# not set\n");
    for (int i = 0; i < S_COUNT_OF_SETTINGS; i++) {
        if (!s->value[i].text) {
            printf("# %s =\n", setting_table[i].name);
        }
    }
}

int command_config(int argc, char **argv) {
    struct settings s;
    int result = settings_load(&s, CMD_CONFIG, 0, argc, argv);
    if (!result && setting_on(&s, S_JSON)) {
        result = print_all(&s);
    } else if (!result) {
        print_lines(&s);
    }
    settings_free(&s);
    return result;
}
