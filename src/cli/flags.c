/* Flags of the command line. */
#include "cli/setting_sources.h"

#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

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
    case CMD_TUNE:
        return "tune";
    case CMD_SERVE:
        return "serve";
    case CMD_DEVICES:
        return "devices";
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

int read_flag(struct settings *s, enum command command, int argc, char **argv, int *at) {
    const char *arg = argv[*at], *value = NULL;
    int id = find_flag(arg, &value);
    if (id < 0 || !setting_taken(command, id)) {
        return unknown_flag(arg, command);
    }
    if (!value && setting_table[id].kind == SET_SWITCH) {
        bool ignored;
        value = *at + 1 < argc && setting_switch(argv[*at + 1], &ignored) ? argv[++*at] : "on";
    } else if (!value) {
        if (*at + 1 >= argc) {
            return setting_complain(arg, "wants a value", NULL);
        }
        value = argv[++*at];
    }
    char where[64];
    snprintf(where, sizeof where, "--%s", setting_table[id].name);
    return setting_set(s, id, value, FROM_COMMAND_LINE, where);
}
