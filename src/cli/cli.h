/* What the subcommands share. */
#ifndef BALLAST_CLI_CLI_H
#define BALLAST_CLI_CLI_H

#include "ballast.h"
#include "cli/settings.h"

#include <stdbool.h>

/* Exit codes; after a signal 128 and its number: 130 for Ctrl-C. */
#define EXIT_OURS 1  /* not the user's fault */
#define EXIT_USAGE 2 /* something that was given is not usable */

int command_generate(int argc, char **argv);
int command_plan(int argc, char **argv);
int command_inspect(int argc, char **argv);
int command_eval(int argc, char **argv);
int command_calibrate(int argc, char **argv);
int command_tune(int argc, char **argv);
int command_serve(int argc, char **argv);
int command_devices(int argc, char **argv);
int command_config(int argc, char **argv);

/* Prints the error's line on stderr and returns the exit code that goes with it. If it is about a setting
 * that does not come from the command line, the line says where it does. */
int report_error(const struct settings *s, const ballast_error *err);

/* Watches for Ctrl-C and SIGTERM. A second one ends the process at once. */
void catch_interrupt(void);
/* True once one came. */
bool interrupted(void);

/* ---- spin.c */

/* Unless the user has chosen (OMP_WAIT_POLICY, GOMP_SPINCOUNT), starts the program again with threads that
 * soon sleep when they have nothing to do. Call first in main. */
void limit_spinning(char **argv);

/* ---- terminal.c */

/* A progress bar on a terminal, plain lines elsewhere; to stderr. */
struct progress_bar {
    bool terminal, quiet;
    char stage[32];  /* the one now shown; "" if the line is clear */
    char state[192]; /* what the terminal shows */
    int image;       /* the picture now shown */
    int last_tenth;
    int batch;                    /* pictures that are computed together */
    double began, batch_began;    /* clock at the first call, and at the first of this batch */
    int step;                     /* the last one seen to end */
    bool loaded, load_told;       /* this stage had weights to load, and a log has a line of it */
    double first_step, last_step; /* seconds of the stage until its first step, in which weights are loaded,
                                     and until the last one had ended */
};
/* `batch`: pictures that are computed together. */
void progress_bar_open(struct progress_bar *bar, bool quiet, int batch);
void progress_bar_show(struct progress_bar *bar, const ballast_progress *p);
/* Clears the line, so that something else can be printed. */
void progress_bar_clear(struct progress_bar *bar);

/* ---- show.c */

/* How this terminal takes pictures. */
enum show_protocol { SHOW_NOTHING, SHOW_KITTY, SHOW_ITERM, SHOW_SIXEL };

/* Finds out, for which it may have to wait for the terminal's answer: once, before the work. Says so where it
 * shows none, unless `quiet`. */
enum show_protocol find_show_protocol(bool quiet);
/* Shows a picture. */
void show_picture(enum show_protocol protocol, const ballast_image *image, bool quiet);

/* ---- sixel.c */

/* Asks the terminal; false where there is none. Type-ahead is lost. */
bool terminal_has_sixel(void);
/* Draws a picture on stdout in 256 colours; false when there is no memory. */
bool send_sixel(const ballast_image *image);

/* ---- open.c */

/* The folder of the embedded model, freed by the caller; NULL, with a line printed: it is not here. */
char *embedded_folder(void);

/* A context and a model, and where their messages go. */
struct session {
    ballast_context *context;
    ballast_model *model;
    int log_level; /* the least urgent level that is printed */
    struct progress_bar *bar;
};

/* Opens what the settings ask for. `path`: a checkpoint, or NULL: the settings' own. `bar`: cleared before a
 * message; may be NULL. Returns 0, or prints the line and returns the exit code. */
int open_session(struct session *out, const struct settings *s, const char *path, struct progress_bar *bar);
/* The same without a model. */
int open_context(struct session *out, const struct settings *s, struct progress_bar *bar);
void close_session(struct session *session);

/* ---- inputs.c */

/* All of a file; *data is freed with free(). 0, or a line and the exit code. */
int read_file(uint8_t **data, size_t *bytes, enum setting_id id, const char *path, const struct settings *s);

/* A picture from a file. Begin with {0}; free_picture. */
struct picture {
    uint8_t *rgb;
    int width, height;
    char *parameters; /* NULL: it carries none */
};
/* `id`: the setting that names it; "-" is standard input for --init-image. 0, or a line and the exit code. */
int read_picture(struct picture *out, enum setting_id id, const char *path, const struct settings *s);
void free_picture(struct picture *picture);

/* ---- like.c */

/* What files the picture's prompts named, as A1111 writes it; NULL: none. Begin with {0}; free_like. */
struct like_hashes {
    char *adapters, *embeddings;
};
/* Takes the parameters of the picture that --like names for settings, but for those on the command line. 0,
 * or a line and the exit code. */
int apply_like(struct settings *s, struct like_hashes *hashes);
/* Says which of these files a picture with such parameters was made without, or with another one in its
 * place. */
void tell_other_files(const struct like_hashes *hashes, const char *parameters);
void free_like(struct like_hashes *hashes);

/* ---- inputs.c */

/* What the options point to beside texts. Begin with {0}. */
struct inputs {
    struct picture init;        /* of --init-image */
    float *latents;             /* of --latents, or NULL */
    ballast_adapter *adapters;  /* of --lora */
    const char **adapter_files; /* their paths, one block */
    char *embedding_folders;    /* the same of --embedding-dir */
    char *adapter_folders;      /* where names in prompts are looked for without --lora-dir, or NULL */
};

/* Fills generate options from settings and reads the files they name. Texts are borrowed from `s`, pixels and
 * latents from `in`. Returns 0, or prints a line and returns the exit code. */
int read_options(ballast_generate_options *o, struct inputs *in, const struct settings *s);
void free_inputs(struct inputs *in);

/* ---- preview.c */

/* A thread that writes the newest preview. */
struct preview_writer;
/* NULL: no memory, or no thread. */
struct preview_writer *preview_writer_open(const char *path, int quality);
/* Copies the picture. 0, or a line, of one before that could not be written, and the exit code. */
int preview_writer_put(struct preview_writer *w, const ballast_image *image, const struct settings *s);
/* Waits until the last one is written. NULL inside is fine. As above. */
int preview_writer_close(struct preview_writer **w, const struct settings *s);

/* ---- adapters.c */

/* The adapters of --lora: *list, [*count], NULL without any, lies in `in`. 0, or a line and the exit code. */
int read_adapters(const ballast_adapter **list, size_t *count, struct inputs *in, const struct settings *s);
/* The folders that a setting gives, or else the folder `name` in the folder `models`, or beside the model
 * where that is NULL, and the one beside the config file, ':' between them. *own: what the caller frees, or
 * NULL. 0, or a line and the exit code. */
int read_folders(const char **folders, char **own, const char *name, enum setting_id id,
                 const struct settings *s, const char *models);

/* ---- output.c */

/* Expands %s (seed), %i (number of the picture, from 1) and %% into path. Returns 0, or EXIT_USAGE with a
 * line printed; `id` is the setting that the pattern came from. */
int expand_pattern(char *path, size_t size, const struct settings *s, enum setting_id id, const char *pattern,
                   uint64_t seed, int index);
/* The pattern with "-%i" put before its suffix, if several pictures would get one name (but for "-");
 * `one_seed`: %s is the same for all. Caller frees; NULL: no memory. */
char *distinct_pattern(const char *pattern, int pictures, bool one_seed);
/* Is the name "-", which stands for standard output? */
bool is_stdout(const char *path);
/* Sends on what was printed; false when any of it is lost, of which report_stdout prints the line. It returns
 * EXIT_OURS. */
bool flush_stdout(void);
bool send_stdout(const void *data, size_t bytes);
int report_stdout(void);
/* Can standard output take this request's pictures? It takes one, alone, and not on a terminal. 0 or
 * EXIT_USAGE. */
int check_stdout(const struct settings *s, enum setting_id id, int pictures);
/* Finds trouble with a file before the work starts: no such folder, not writable, a file in the way. 0 or
 * EXIT_USAGE. */
int check_output(const struct settings *s, enum setting_id id, const char *path);
/* The line for a name that is too long, and the exit code. */
int too_long(const struct settings *s, enum setting_id id, const char *pattern);

/* The form that a file gets by its suffix: "png", "jpeg" or "webp". */
const char *form_of(const char *path);
/* Refuses the suffix of another picture format. 0 or EXIT_USAGE. */
int check_suffix(const struct settings *s, enum setting_id id, const char *path);

/* A JSON string of text that need not be UTF-8, as names of files: where it is not, '?' stands for each byte
 * that is not ASCII. NULL: no memory. */
struct json_t *json_name(const char *text);
/* A seed: a number, or past 2^63 - 1, where JSON's readers stop, a string of digits. NULL: no memory. */
struct json_t *json_seed(uint64_t seed);
/* Prints a value, which it takes, on standard output, all of it or nothing; NULL: there was no memory for it.
 * Returns 0 or EXIT_OURS, with a line printed. */
int print_json(struct json_t *value);
/* The line for that; returns EXIT_OURS. */
int out_of_memory(void);

/* ---- folders.c */

/* The folder of what lies at `path`, "." and "/" included; may be written over `path`. False: it is too long.
 */
bool folder_of(char *folder, size_t size, const char *path);
/* Makes the folders that the file lies in, as far as they are not there. 0, or a line and the exit code. */
int make_folders(const struct settings *s, enum setting_id id, const char *path);
/* Takes away those of them in which nothing lies: at the end of the program, however it went. */
void drop_empty_folders(void);

/* ---- other_names.c */

/* What does here what a flag of another program does there ("--cfg X"); NULL if the name, without its dashes,
 * is not known. */
const char *named_elsewhere(const char *typed);

/* ---- no_effect.c */

/* Unless --quiet, a line on stderr for each flag that changes nothing beside the others. Called once the
 * request is known to be sound: what fails says one line, and that alone. */
void tell_of_no_effect(const struct settings *s);
/* The same for previews that nobody would see, where pictures are made. */
void tell_of_unseen_previews(const struct settings *s);

/* ---- suggest.c */

/* How many letters have to be put in, left out, changed or swapped with a neighbour to get from one word to
 * the other. Only the first 63 bytes count. */
int letters_apart(const char *a, const char *b);
/* Is the distance small enough for a slip of the finger? */
bool looks_like(const char *typed, const char *meant);

#endif
