/* Where settings come from, in which order they count, and what is said of a name that is none. */
#include "cli/setting_sources.h"

#include "cli/cli.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int setting_complain(const char *where, const char *what, const char *value) {
    if (value) {
        fprintf(stderr, "ballast: %s: %s (\"%.200s%s\")\n", where, what, value,
                strlen(value) > 200 ? "..." : "");
    } else {
        fprintf(stderr, "ballast: %s: %s\n", where, what);
    }
    return EXIT_USAGE;
}

/* The shell expands "~/" in what is typed, nobody does elsewhere. */
static bool expands(int id, const char *text, enum setting_origin origin) {
    bool path = setting_table[id].kind == SET_FILE || setting_table[id].kind == SET_FILES;
    return path && origin != FROM_COMMAND_LINE && text[0] == '~' && (text[1] == '/' || !text[1]);
}

int setting_set(struct settings *s, int id, const char *text, enum setting_origin origin, const char *where) {
    if (origin < s->value[id].origin) {
        return 0;
    }
    int result = setting_check(&setting_table[id], text, where);
    if (result) {
        return result;
    }
    const char *before = s->value[id].text, *home = expands(id, text, origin) ? getenv("HOME") : NULL;
    bool more = setting_table[id].kind == SET_FILES && before && s->value[id].origin == origin;
    char *copy = NULL;
    if (asprintf(&copy, "%s%s%s%s", more ? before : "", more ? "\n" : "", home ? home : "",
                 home ? text + 1 : text) < 0) {
        return out_of_memory();
    }
    s->repeated[id] = origin == FROM_COMMAND_LINE && before && !more &&
                      setting_table[id].kind != SET_SWITCH && (s->repeated[id] || strcmp(before, copy) != 0);
    free(s->value[id].text);
    s->value[id] = (struct setting_value){.text = copy, .origin = origin};
    return 0;
}

int setting_named(const char *name, size_t length) {
    for (int i = 0; i < S_COUNT_OF_SETTINGS; i++) {
        if (strlen(setting_table[i].name) == length && !strncmp(setting_table[i].name, name, length)) {
            return i;
        }
    }
    return -1;
}

bool setting_taken(enum command command, int id) {
    return command == CMD_CONFIG || setting_table[id].commands & command;
}

const char *setting_like(const char *typed, enum command command) {
    const char *near = NULL;
    int least = 99;
    for (int i = 0; i < S_COUNT_OF_SETTINGS; i++) {
        const char *name = setting_table[i].name;
        bool begun = !strncmp(typed, name, strlen(typed)); /* "compar" is "compare" rather than "compat" */
        int apart = 2 * letters_apart(typed, name) - begun;
        if (setting_taken(command, i) && looks_like(typed, name) && apart < least) {
            near = name;
            least = apart;
        }
    }
    for (int i = 0; i < S_COUNT_OF_SETTINGS && !near && strlen(typed) > 1; i++) {
        bool begun = !strncmp(typed, setting_table[i].name, strlen(typed));
        near = setting_taken(command, i) && begun ? setting_table[i].name : NULL;
    }
    return near;
}

#define PREFIX "BALLAST_"
#define OF_TESTS PREFIX "TEST_" /* are read by the tests alone */

struct variable setting_variable(int id) {
    struct variable v = {PREFIX};
    size_t n = strlen(PREFIX);
    for (const char *p = setting_table[id].name; *p && n + 1 < sizeof v.name; p++) {
        v.name[n++] = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
    }
    return v;
}

static int read_environment(struct settings *s) {
    for (int i = 0; i < S_COUNT_OF_SETTINGS; i++) {
        struct variable v = setting_variable(i);
        const char *text = getenv(v.name);
        int result = text && *text ? setting_set(s, i, text, FROM_ENVIRONMENT, v.name) : 0;
        if (result) {
            return result;
        }
    }
    return 0;
}

/* A line for each variable that was probably meant for us. No more than that: it may be somebody else's. */
static void warn_of_environment(void) {
    for (char **e = environ; *e; e++) {
        char name[64] = "";
        size_t length = strcspn(*e, "=");
        if (strncmp(*e, PREFIX, strlen(PREFIX)) != 0 || length - strlen(PREFIX) >= sizeof name ||
            !strncmp(*e, OF_TESTS, strlen(OF_TESTS))) {
            continue;
        }
        for (size_t i = 0; i + strlen(PREFIX) < length; i++) {
            char c = (*e)[i + strlen(PREFIX)];
            name[i] = c == '_' ? '-' : (char)tolower((unsigned char)c);
        }
        const char *near = setting_like(name, CMD_CONFIG);
        struct variable meant = {PREFIX "MOVE_DEBUG"}; /* is no setting */
        if (near) {
            meant = setting_variable(setting_named(near, strlen(near)));
        }
        bool right = strlen(meant.name) == length && !strncmp(*e, meant.name, length);
        if (!right && (near || looks_like(name, "move-debug"))) {
            fprintf(stderr, "ballast: %.*s is none of our variables and not looked at; did you mean %s?\n",
                    (int)length, *e, meant.name);
        }
    }
}

int settings_load(struct settings *s, enum command command, int positional_most, int argc, char **argv) {
    *s = (struct settings){0};
    int result = 0;
    for (int i = 0; i < argc && !result; i++) {
        if (argv[i][0] == '-' && argv[i][1]) {
            result = read_flag(s, command, argc, argv, &i);
        } else if (s->positional_count < positional_most) {
            s->positional[s->positional_count++] = argv[i];
        } else {
            result =
                setting_complain(argv[i], "did not expect this here; is a --flag missing before it?", NULL);
        }
    }
    if (!result) {
        result = read_environment(s);
    }
    if (!result) {
        result = read_config_file(s);
    }
    for (int i = 0; i < S_COUNT_OF_SETTINGS && !result; i++) {
        if (!s->value[i].text && setting_table[i].fallback) {
            result = setting_set(s, i, setting_table[i].fallback, FROM_DEFAULT, setting_table[i].name);
        }
    }
    if (!result && !setting_on(s, S_QUIET)) {
        warn_of_environment();
    }
    return result;
}

void settings_free(struct settings *s) {
    for (int i = 0; i < S_COUNT_OF_SETTINGS; i++) {
        free(s->value[i].text);
    }
    free(s->config_path);
}

static void help_line(const struct setting *s) {
    char flag[64], letter[8] = "    ";
    snprintf(flag, sizeof flag, "--%s%s%s", s->name, s->placeholder ? " " : "",
             s->placeholder ? s->placeholder : "");
    if (s->letter) {
        snprintf(letter, sizeof letter, "-%c, ", s->letter);
    }
    printf("  %s%-25s %s", letter, flag, s->help);
    bool trivial = !s->fallback || !strcmp(s->fallback, "0") || !strcmp(s->fallback, "off");
    printf(trivial ? "\n" : " (default: %s)\n", s->fallback);
}

void settings_help(enum command command) {
    for (int group = 0; group < setting_group_count; group++) {
        int first = (int)setting_groups[group].first;
        int end =
            group + 1 < setting_group_count ? (int)setting_groups[group + 1].first : S_COUNT_OF_SETTINGS;
        bool titled = false;
        for (int i = first; i < end; i++) {
            if (setting_table[i].commands & command) {
                if (!titled) {
                    printf("\n%s\n", setting_groups[group].title);
                }
                titled = true;
                help_line(&setting_table[i]);
            }
        }
    }
}
