/* What the sources of settings share: flags.c, the environment and the defaults (settings.c), config_file.c.
 * Each hands over texts, of which the first source's counts. */
#ifndef BALLAST_CLI_SETTING_SOURCES_H
#define BALLAST_CLI_SETTING_SOURCES_H

#include "cli/settings.h"

/* Prints a line: what is wrong at `where` ("--steps", "BALLAST_STEPS", "config:3") with `value`,
 * which may be NULL. Returns the exit code 2. */
int setting_complain(const char *where, const char *what, const char *value);

/* Checks the form of a value. 0, or the exit code 2 once it has complained. */
int setting_check(const struct setting *s, const char *text, const char *where);
/* False: neither on nor off. */
bool setting_switch(const char *text, bool *on);

/* Sets it, unless a source that comes before this one has. 0 or an exit code. */
int setting_set(struct settings *s, int id, const char *text, enum setting_origin origin, const char *where);

/* Does the command take the setting as a flag? */
bool setting_taken(enum command command, int id);

/* One flag at argv[*at]; moves *at past what it used. 0 or an exit code. */
int read_flag(struct settings *s, enum command command, int argc, char **argv, int *at);
/* That of --config, or the user's if there is one. 0 or an exit code. */
int read_config_file(struct settings *s);

#endif
