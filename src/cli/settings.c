#include "cli/settings.h"

#include "cli/cli.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define MOST_CONFIG 65535 /* bytes of a config file */

static int complain(const char *where, const char *what, const char *value) {
    if (value) {
        fprintf(stderr, "ballast: %s: %s (\"%.200s%s\")\n", where, what, value,
                strlen(value) > 200 ? "..." : "");
    } else {
        fprintf(stderr, "ballast: %s: %s\n", where, what);
    }
    return EXIT_USAGE;
}

static bool parse_number(const char *text, double *out) {
    char *end;
    errno = 0;
    *out = strtod(text, &end);
    return end != text && !*end && !errno && isfinite(*out);
}

static bool parse_seed(const char *text, uint64_t *out, bool *random) {
    char *end;
    *random = !strcmp(text, "-1");
    if (*random) {
        return true;
    }
    errno = 0;
    *out = strtoull(text, &end, 10);
    return isdigit((unsigned char)*text) && !*end && !errno;
}

static bool parse_switch(const char *text, bool *on) {
    static const char *const yes[] = {"on", "1", "true", "yes"}, *const no[] = {"off", "0", "false", "no"};
    for (int i = 0; i < 4; i++) {
        if (!strcmp(text, yes[i]) || !strcmp(text, no[i])) {
            *on = !strcmp(text, yes[i]);
            return true;
        }
    }
    return false;
}

/* Checks the form of a value; `where` names the place for the message. */
static int check_value(const struct setting *s, const char *text, const char *where) {
    double number;
    uint64_t seed;
    bool flag;
    char range[96];
    switch (s->kind) {
    case SET_TEXT:
    case SET_FILE:
    case SET_FILES:
        return 0;
    case SET_INT:
    case SET_NUMBER:
        if (parse_number(text, &number) && number >= s->min && number <= s->max &&
            (s->kind == SET_NUMBER || number == floor(number))) {
            return 0;
        }
        if (s->max >= 1e9) {
            snprintf(range, sizeof range, "wants a whole number from %g up", s->min);
            return complain(where, range, text);
        }
        snprintf(range, sizeof range, "wants a %s from %g to %g",
                 s->kind == SET_INT ? "whole number" : "number", s->min, s->max);
        return complain(where, range, text);
    case SET_SEED:
        return parse_seed(text, &seed, &flag)
                   ? 0
                   : complain(where, "wants a whole number from 0 to 2^64 - 1, or -1 for a random one", text);
    case SET_SWITCH:
        return parse_switch(text, &flag) ? 0 : complain(where, "wants on or off", text);
    }
    return 0;
}

/* The shell expands "~/" in what is typed, nobody does elsewhere. */
static bool expands(int id, const char *text, enum setting_origin origin) {
    bool path = setting_table[id].kind == SET_FILE || setting_table[id].kind == SET_FILES;
    return path && origin != FROM_COMMAND_LINE && text[0] == '~' && (text[1] == '/' || !text[1]);
}

static int set(struct settings *s, int id, const char *text, enum setting_origin origin, const char *where) {
    if (origin < s->value[id].origin) {
        return 0;
    }
    int result = check_value(&setting_table[id], text, where);
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

static bool takes(enum command command, int id) {
    return command == CMD_CONFIG || setting_table[id].commands & command;
}

const char *setting_like(const char *typed, enum command command) {
    const char *near = NULL;
    int least = 99;
    for (int i = 0; i < S_COUNT_OF_SETTINGS; i++) {
        const char *name = setting_table[i].name;
        bool begun = !strncmp(typed, name, strlen(typed)); /* "compar" is "compare" rather than "compat" */
        int apart = 2 * letters_apart(typed, name) - begun;
        if (takes(command, i) && looks_like(typed, name) && apart < least) {
            near = name;
            least = apart;
        }
    }
    for (int i = 0; i < S_COUNT_OF_SETTINGS && !near && strlen(typed) > 1; i++) {
        bool begun = !strncmp(typed, setting_table[i].name, strlen(typed));
        near = takes(command, i) && begun ? setting_table[i].name : NULL;
    }
    return near;
}

#define PREFIX "BALLAST_"

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
        int result = text && *text ? set(s, i, text, FROM_ENVIRONMENT, v.name) : 0;
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
        if (strncmp(*e, PREFIX, strlen(PREFIX)) != 0 || length - strlen(PREFIX) >= sizeof name) {
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

static char *trim(char *p) {
    while (isspace((unsigned char)*p)) {
        p++;
    }
    char *end = p + strlen(p);
    while (end > p && isspace((unsigned char)end[-1])) {
        *--end = 0;
    }
    return p;
}

static int read_config_line(struct settings *s, char *line, int number, const char *where) {
    char *key = trim(line), *equals = strchr(line, '=');
    if (!*key || *key == '#') {
        return 0;
    }
    if (!equals) {
        return complain(where, "wants \"name = value\"", key);
    }
    *equals = 0;
    key = trim(line);
    int id = setting_named(key, strlen(key));
    if (id < 0 || id == S_CONFIG) {
        const char *near = setting_like(key, CMD_CONFIG);
        const char *here = id < 0 ? named_elsewhere(key) : NULL;
        char what[160] = "no such setting; `ballast config` lists them";
        if (here) {
            snprintf(what, sizeof what, "no such setting; the flag for it is %s", here);
        } else if (near && id < 0) {
            snprintf(what, sizeof what, "no such setting; did you mean %s?", near);
        }
        return complain(where, what, key);
    }
    int result = set(s, id, trim(equals + 1), FROM_CONFIG, where);
    if (!result && s->value[id].origin == FROM_CONFIG) {
        s->value[id].line = number;
    }
    return result;
}

/* Path of the config file; `given`: by the user, so it has to be there. False: none is known. */
static bool config_path(char *path, size_t size, const struct settings *s) {
    const char *given = s->value[S_CONFIG].text, *xdg = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    if (given) {
        snprintf(path, size, "%s", given);
    } else if (xdg && *xdg) {
        snprintf(path, size, "%s/ballast/config", xdg);
    } else if (home && *home) {
        snprintf(path, size, "%s/.config/ballast/config", home);
    }
    return given || (xdg && *xdg) || (home && *home);
}

static int unreadable(const struct settings *s, const char *path) {
    return errno == ENOMEM ? out_of_memory()
                           : complain_of(s, S_CONFIG, "cannot read \"%s\": %s", path, strerror(errno));
}

/* A byte order mark, which some editors write, and carriage returns before the ends of lines are no matter.
 * text: [size + 1], written to. */
static int read_config_text(struct settings *s, char *text, size_t size, const char *path) {
    static const char mark[] = "\xef\xbb\xbf";
    char where[4160], *end = text + size;
    int number = 1, result = 0;
    char *line = text + (size >= 3 && !memcmp(text, mark, 3) ? 3 : 0);
    for (char *next; !result && line < end; line = next + 1, number++) {
        next = memchr(line, '\n', (size_t)(end - line));
        next = next ? next : end;
        *next = 0;
        snprintf(where, sizeof where, "%s:%d", path, number);
        result = strlen(line) == (size_t)(next - line)
                     ? read_config_line(s, line, number, where)
                     : complain(where, "holds a NUL byte; a config file is text, in UTF-8", NULL);
    }
    return result;
}

static int read_config(struct settings *s) {
    char path[4096], text[MOST_CONFIG + 1];
    if (!config_path(path, sizeof path, s)) {
        return 0;
    }
    FILE *f = fopen(path, "re");
    if (!f) {
        bool absent = (errno == ENOENT || errno == ENOTDIR) && !s->value[S_CONFIG].text;
        return absent ? 0 : unreadable(s, path);
    }
    size_t size = fread(text, 1, sizeof text, f);
    int result = ferror(f)            ? unreadable(s, path)
                 : size > MOST_CONFIG ? complain(path, "too long for a config file", NULL)
                                      : read_config_text(s, text, size, path);
    fclose(f);
    s->config_path = strdup(path);
    return result || s->config_path ? result : out_of_memory();
}

static const char *command_name(enum command command) {
    switch (command) {
    case CMD_GENERATE:
        return "generate";
    case CMD_PLAN:
        return "plan";
    case CMD_INSPECT:
        return "inspect";
    case CMD_EVAL:
        return "eval";
    case CMD_CALIBRATE:
        return "calibrate";
    case CMD_SERVE:
        return "serve";
    default:
        return "config";
    }
}

/* The line for a flag that is none, or none of this command's. */
static int unknown_flag(const char *flag, enum command command) {
    char name[64] = "";
    const char *topic = command_name(command);
    int id = -1;
    if (flag[1] == '-') {
        snprintf(name, sizeof name, "%.*s", (int)strcspn(flag + 2, "="), flag + 2);
        id = setting_named(name, strlen(name));
    }
    const char *near = setting_like(name, command), *here = named_elsewhere(*name ? name : flag + 1);
    size_t length = strcspn(flag + 1, "=");
    if (flag[1] != '-' && setting_named(flag + 1, length) >= 0) {
        fprintf(stderr, "ballast: %.*s: a flag of more than one letter begins with two dashes: --%.*s\n",
                (int)length + 1, flag, (int)length, flag + 1);
    } else if (id < 0 && here) {
        fprintf(stderr, "ballast: %.*s: no such flag; what it does elsewhere is here %s\n",
                (int)strcspn(flag, "="), flag, here);
    } else if (id >= 0) {
        fprintf(stderr, "ballast: --%s: `ballast %s` does not take this flag; see `ballast help %s`\n", name,
                topic, topic);
    } else if (near) {
        fprintf(stderr, "ballast: --%s: no such flag; did you mean --%s?\n", name, near);
    } else {
        fprintf(stderr, "ballast: %s: no such flag; see `ballast help %s`\n", flag, topic);
    }
    return EXIT_USAGE;
}

/* The setting of "--name", "--name=value", "--no-name", "-n" or "-nvalue", and the value if it is in there.
 */
static int find_flag(const char *arg, const char **value) {
    if (arg[1] != '-') {
        size_t length = strcspn(arg + 1, "=");
        if (length > 1 && (setting_named(arg + 1, length) >= 0 || named_elsewhere(arg + 1))) {
            return -1; /* -vae is not -v */
        }
        for (int i = 0; i < S_COUNT_OF_SETTINGS; i++) {
            if (setting_table[i].letter == arg[1]) {
                *value = arg[2] ? arg + 2 : NULL;
                return i;
            }
        }
        return -1;
    }
    size_t length = strcspn(arg + 2, "=");
    *value = arg[2 + length] ? arg + 2 + length + 1 : NULL;
    int id = setting_named(arg + 2, length);
    if (id < 0 && !*value && !strncmp(arg, "--no-", 5)) {
        id = setting_named(arg + 5, length - 3);
        *value = "off";
        id = id >= 0 && setting_table[id].kind == SET_SWITCH ? id : -1;
    }
    return id;
}

/* One flag at argv[*at]; moves *at past what it used. */
static int read_flag(struct settings *s, enum command command, int argc, char **argv, int *at) {
    const char *arg = argv[*at], *value = NULL;
    int id = find_flag(arg, &value);
    if (id < 0 || !takes(command, id)) {
        return unknown_flag(arg, command);
    }
    if (!value && setting_table[id].kind == SET_SWITCH) {
        bool ignored;
        value = *at + 1 < argc && parse_switch(argv[*at + 1], &ignored) ? argv[++*at] : "on";
    } else if (!value) {
        if (*at + 1 >= argc) {
            return complain(arg, "wants a value", NULL);
        }
        value = argv[++*at];
    }
    char where[64];
    snprintf(where, sizeof where, "--%s", setting_table[id].name);
    return set(s, id, value, FROM_COMMAND_LINE, where);
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
            result = complain(argv[i], "did not expect this here; is a --flag missing before it?", NULL);
        }
    }
    if (!result) {
        result = read_environment(s);
    }
    if (!result) {
        result = read_config(s);
    }
    for (int i = 0; i < S_COUNT_OF_SETTINGS && !result; i++) {
        if (!s->value[i].text && setting_table[i].fallback) {
            result = set(s, i, setting_table[i].fallback, FROM_DEFAULT, setting_table[i].name);
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

const char *setting_text(const struct settings *s, enum setting_id id) {
    return s->value[id].text;
}

bool setting_on(const struct settings *s, enum setting_id id) {
    bool on = false;
    return s->value[id].text && parse_switch(s->value[id].text, &on) && on;
}

const char **setting_files(const struct settings *s, enum setting_id id) {
    const char *text = s->value[id].text ? s->value[id].text : "";
    size_t files = *text ? 1 : 0;
    for (const char *p = text; *p; p++) {
        files += *p == '\n';
    }
    const char **list = malloc((files + 1) * sizeof *list + strlen(text) + 1);
    if (!list) {
        return NULL;
    }
    char *at = (char *)(list + files + 1);
    memcpy(at, text, strlen(text) + 1);
    for (size_t i = 0; i < files; i++) {
        list[i] = strsep(&at, "\n");
    }
    list[files] = NULL;
    return list;
}

double setting_number(const struct settings *s, enum setting_id id) {
    double number = 0;
    return s->value[id].text && parse_number(s->value[id].text, &number) ? number : 0;
}

int setting_int(const struct settings *s, enum setting_id id) {
    return (int)setting_number(s, id);
}

uint64_t setting_seed(const struct settings *s, enum setting_id id) {
    uint64_t seed = 0;
    bool random = true;
    if (s->value[id].text && parse_seed(s->value[id].text, &seed, &random) && !random) {
        return seed;
    }
    uint32_t bits = 0; /* 32 bits, as other tools draw them: a seed that people can retype */
    if (getrandom(&bits, sizeof bits, 0) != sizeof bits) {
        bits = 0;
    }
    return bits;
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
