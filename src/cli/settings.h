/* Settings of all subcommands: one table, setting_list.inc. Each may come from the command line, from the
 * environment (BALLAST_NAME), from the config file (name = value), or be left at its default; the first of
 * these that has it wins. */
#ifndef BALLAST_CLI_SETTINGS_H
#define BALLAST_CLI_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum command {
    CMD_GENERATE = 1,
    CMD_PLAN = 2,
    CMD_INSPECT = 4,
    CMD_EVAL = 8,
    CMD_CONFIG = 16,
    CMD_CALIBRATE = 32,
    CMD_SERVE = 64,
    CMD_DEVICES = 128,
    CMD_TUNE = 256,
    CMD_ALL = 511
};

enum setting_kind {
    SET_TEXT,
    SET_FILE,   /* a path */
    SET_FILES,  /* paths: may be given several times, one a line in its value */
    SET_INT,    /* min..max */
    SET_NUMBER, /* min..max */
    SET_SEED,   /* 0..2^64-1, or -1: a random one */
    SET_SWITCH, /* on/off; on the command line --name means on and --no-name off */
};

enum setting_origin { FROM_DEFAULT, FROM_CONFIG, FROM_ENVIRONMENT, FROM_PICTURE, FROM_COMMAND_LINE };

struct setting {
    const char *name;
    char letter; /* -o; 0: none */
    enum setting_kind kind;
    unsigned commands;       /* where the flag is taken */
    const char *placeholder; /* for the help */
    const char *fallback;    /* NULL: not set */
    double min, max;
    size_t option;      /* offset in ballast_generate_options of what it fills; 0: nothing */
    const char *help;   /* one line */
    const char *manual; /* sentences; NULL: the help */
};

/* Index of each setting in the table. */
enum setting_id {
#define SETTING(id, ...) S_##id,
#include "cli/setting_list.inc"
#undef SETTING
    S_COUNT_OF_SETTINGS
};

extern const struct setting setting_table[S_COUNT_OF_SETTINGS];

/* Headings of the help, each with the first setting that stands below it. */
struct setting_group {
    enum setting_id first;
    const char *title;
};
extern const struct setting_group setting_groups[];
extern const int setting_group_count;

struct setting_value {
    char *text; /* NULL: not set */
    enum setting_origin origin;
    int line; /* of the config file */
};

struct settings {
    struct setting_value value[S_COUNT_OF_SETTINGS];
    bool repeated[S_COUNT_OF_SETTINGS]; /* another value came first on the command line */
    char *config_path;                  /* the file that was read, or NULL */
    const char *positional[2];          /* arguments without a flag */
    int positional_count;
};

/* Gathers everything for `command` (CMD_CONFIG takes the flags of all). On a mistake prints one line and
 * returns the exit code 2; else 0. */
int settings_load(struct settings *s, enum command command, int positional_most, int argc, char **argv);
void settings_free(struct settings *s);

/* Where the settings come from that a message of the library begins with ("budget: ...", "low, high: ..."),
 * or whose file it names: " (from BALLAST_BUDGET)", or the config file; "" if from nowhere else than the
 * command line. Returns `out`. */
const char *setting_source(char *out, size_t size, const struct settings *s, const char *message);

/* Prints the line of a mistake in a setting: "ballast: --name: ...", and where it comes from. Returns the
 * exit code 2.
 */
int complain_of(const struct settings *s, enum setting_id id, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The setting of this name; -1: none. */
int setting_named(const char *name, size_t length);
/* "BALLAST_FIT_CHECK" */
struct variable {
    char name[64];
};
struct variable setting_variable(int id);

/* The setting of `command` that was probably meant, by a slip or by its beginning; NULL if none looks like
 * it. */
const char *setting_like(const char *typed, enum command command);

/* Values; their form has been checked by settings_load. */
const char *setting_text(const struct settings *s, enum setting_id id); /* NULL if not set */
bool setting_on(const struct settings *s, enum setting_id id);
/* The files of a SET_FILES setting, in the order in which they were given: a list that ends with NULL. The
 * caller frees it, which is one block; NULL if memory is short. */
const char **setting_files(const struct settings *s, enum setting_id id);
int setting_int(const struct settings *s, enum setting_id id);
double setting_number(const struct settings *s, enum setting_id id);
/* A seed of -1 becomes a random one, anew at each call. */
uint64_t setting_seed(const struct settings *s, enum setting_id id);

/* The help of one command's flags, to stdout. */
void settings_help(enum command command);

#endif
