/* Lines that say where a setting comes from that is not on the command line: who typed it long ago looks
 * there. */
#include "cli/cli.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Adds where a setting comes from, if not from the command line: " (from BALLAST_LOW", then " and
 * BALLAST_HIGH". */
static void add_source(char *out, size_t size, const struct settings *s, int id) {
    const struct setting_value *v = &s->value[id];
    char name[PATH_MAX + 16] = "";
    if (v->text && v->origin == FROM_ENVIRONMENT) {
        snprintf(name, sizeof name, "%s", setting_variable(id).name);
    } else if (v->text && v->origin == FROM_CONFIG) {
        snprintf(name, sizeof name, "%s:%d", s->config_path ? s->config_path : "the config file", v->line);
    }
    size_t used = strlen(out);
    if (*name && !strstr(out, name)) {
        snprintf(out + used, size - used, "%s%s", used ? " and " : " (from ", name);
    }
}

/* Is the text one of the message's words, as a name of a file is that cannot be opened? */
static bool mentions(const char *message, const char *text, size_t n) {
    for (const char *p = n ? strstr(message, text) : NULL; p; p = strstr(p + 1, text)) {
        char before = p > message ? p[-1] : ' ', after = p[n];
        if (strchr(" \"", before) && (!after || strchr(" \",:;/", after))) {
            return true;
        }
    }
    return false;
}

/* The same for each file of a setting that names files; a tensor of it may stand behind a colon, what it is
 * for before one. */
static bool mentions_file(const char *message, const char *text) {
    char path[PATH_MAX];
    for (const char *next = text; next; text = next + 1) {
        next = strchr(text, '\n');
        int n = snprintf(path, sizeof path, "%.*s", (int)(next ? next - text : (long)strlen(text)), text);
        const char *sim = !strncmp(path, "sim:", 4) ? path + 4 : path;
        char *colon = strrchr(sim, ':');
        if (n >= (int)sizeof path) {
            continue;
        }
        if (mentions(message, sim, strlen(sim))) {
            return true;
        }
        if (colon) {
            *colon = 0;
            if (mentions(message, sim, strlen(sim))) {
                return true;
            }
        }
        if (!next) {
            break;
        }
    }
    return false;
}

const char *setting_source(char *out, size_t size, const struct settings *s, const char *message) {
    static const enum setting_id files[] = {S_VAE,    S_TEXT_ENCODER, S_LORA,   S_INIT_IMAGE, S_LATENTS,
                                            S_INPUTS, S_OUTPUT,       S_DEVICE, S_MODEL};
    size_t names = strcspn(message, ":");
    out[0] = 0;
    for (size_t i = 0, n; message[names] && i < names; i += n + 2) {
        n = strcspn(message + i, ",:");
        int id = setting_named(message + i, n);
        if (id >= 0) {
            add_source(out, size, s, id);
        }
    }
    for (size_t i = 0; !*out && i < sizeof files / sizeof *files; i++) {
        const char *text = s->value[files[i]].text;
        if (text && mentions_file(message, text)) {
            add_source(out, size, s, (int)files[i]);
        }
    }
    size_t used = strlen(out);
    if (used) {
        snprintf(out + used, size - used, ")");
    }
    return out;
}

int complain_of(const struct settings *s, enum setting_id id, const char *format, ...) {
    char source[PATH_MAX + 64] = "";
    va_list args;
    add_source(source, sizeof source, s, (int)id);
    fprintf(stderr, "ballast: --%s: ", setting_table[id].name);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "%s%s\n", source, *source ? ")" : "");
    return EXIT_USAGE;
}
