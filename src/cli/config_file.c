/* The config file: lines "name = value", comments behind #. */
#include "cli/setting_sources.h"

#include "cli/cli.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_CONFIG 65535 /* bytes of a config file */

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
        return setting_complain(where, "wants \"name = value\"", key);
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
        return setting_complain(where, what, key);
    }
    int result = setting_set(s, id, trim(equals + 1), FROM_CONFIG, where);
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
                     : setting_complain(where, "holds a NUL byte; a config file is text, in UTF-8", NULL);
    }
    return result;
}

int read_config_file(struct settings *s) {
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
                 : size > MOST_CONFIG ? setting_complain(path, "too long for a config file", NULL)
                                      : read_config_text(s, text, size, path);
    fclose(f);
    s->config_path = strdup(path);
    return result || s->config_path ? result : out_of_memory();
}
