/* What the subcommands share. */
#ifndef BALLAST_CLI_CLI_H
#define BALLAST_CLI_CLI_H

#include "ballast.h"
#include "cli/settings.h"

/* Exit codes. */
#define EXIT_OURS 1      /* not the user's fault */
#define EXIT_USAGE 2     /* something that was given is not usable */
#define EXIT_STOPPED 130 /* Ctrl-C */

int command_generate(int argc, char **argv);
int command_plan(int argc, char **argv);
int command_inspect(int argc, char **argv);
int command_eval(int argc, char **argv);
int command_config(int argc, char **argv);

/* Prints the error's line on stderr and returns the exit code that goes with it. */
int report_error(const ballast_error *err);

/* A context and a model as the settings ask. On failure prints the line and returns the exit code; else 0. */
int open_model(ballast_context **context, ballast_model **model, const struct settings *s, const char *path);

/* Fills generate options from settings; texts are borrowed from `s`. Pixels and latents are left alone. */
void fill_generate_options(ballast_generate_options *o, const struct settings *s);

/* True once Ctrl-C was pressed; catch_interrupt starts the watch. A second Ctrl-C ends the process at once.
 */
void catch_interrupt(void);
int interrupted(void);

/* ---- output.c */

/* Expands %s (seed), %i (number of the picture) and %% into path. Returns 0, or EXIT_USAGE with a line
 * printed. */
int expand_pattern(char *path, size_t size, const char *pattern, uint64_t seed, int index);
/* The pattern with "-%i" put before its suffix, if several pictures would get one name. Caller frees; NULL:
 * no memory. */
char *distinct_pattern(const char *pattern, int pictures);
/* Finds trouble before the work starts: no such folder, not writable, a file in the way. 0 or EXIT_USAGE. */
int check_output(const char *path, int overwrite);

/* ---- terminal.c */

/* A progress bar on a terminal, plain lines elsewhere; to stderr. */
struct progress_bar {
    int terminal, quiet;
    char stage[32];
    int last_tenth;
};
void progress_bar_open(struct progress_bar *bar, int quiet);
void progress_bar_show(struct progress_bar *bar, const ballast_progress *p);
void progress_bar_clear(struct progress_bar *bar);

/* Shows a PNG file inline where the terminal understands kitty's or iTerm2's protocol; says so where it does
 * not. */
void show_picture(const char *path);

#endif
