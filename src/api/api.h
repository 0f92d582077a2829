/* What the files of the public API share. */
#ifndef BALLAST_API_API_H
#define BALLAST_API_API_H

#include "ballast.h"
#include "checkpoint/architecture.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/recommended.h"
#include "core/log.h"
#include "core/stop.h"
#include "device/device.h"
#include "pipeline/generate.h"
#include "text/tokenizer.h"

#include <sys/types.h>

#define BL_LATELY 16 /* generations that are remembered */

struct ballast_context {
    bl_device *device;
    bl_memory *memory; /* owner of the device's; all models share it */
    bool simulated;
    int threads;
    bool own_threads; /* they were given, not found */
    bl_tokenizer *tokenizer;
    bl_encodings *encodings; /* NULL: none are kept */
    bl_log log;
    void (*log_fn)(void *payload, int level, const char *line);
    void *log_payload;
    ballast_placement_options placement; /* texts are our own copies; all NULL before place.c set them */
    char *cache_dir;                     /* NULL: nothing is kept */
    pid_t process;                       /* that opened it */
    _Atomic(const void *) worker;        /* stands for the thread whose call is at work; NULL: none */
    int models;                          /* that are open; looked at by whose turn it is */
    ballast_model *lately[BL_LATELY];    /* [lately_count] whose generations were the last ones, in order */
    int lately_count;
};

struct ballast_model {
    ballast_context *context; /* borrowed */
    bl_checkpoint *ckpt;
    bl_architecture arch;
    bl_recommended recommended; /* for its pictures */
    char recommended_line[128]; /* of what the present call took of it, or "" */
    bl_modules *modules;
    bl_tokenizer *tokenizer[BL_FAMILY_ENCODERS]; /* with words of its own; NULL: the context's */
    bl_byte_bpe *words;                          /* as in bl_wordbook */
    bl_unigram *pieces;                          /* the same */
    bl_dtype dtype, vae_dtype;
    char *name;          /* the file's name without folder and suffix */
    char *vae_name;      /* of another file's VAE, or NULL */
    bl_shelf *shelf;     /* its adapters that are open */
    bl_model_hash *hash; /* of its file; NULL before the first picture, and for folders */
    bool encoded;        /* the last of them had a text that was not known */
    bool generated;      /* once at the least */
    bl_stop stop;
    ballast_generate_options *last; /* what its last generation was like, or NULL */
};

/* Refuses an argument that is NULL, by its name. */
#define BL_NEED(argument)                                                                \
    do {                                                                                 \
        if (!(argument)) {                                                               \
            return bl_fail(err, BL_E_ARGUMENT, "%s: `%s` is NULL", __func__, #argument); \
        }                                                                                \
    } while (0)

/* ---- options.c: our own struct from a caller's of any version. BL_E_ARGUMENT: its size is none, or fields
 * that we do not know are set. Where a function allows NULL, that is all defaults. Texts and arrays are
 * borrowed. */
int bl_take_context_options(ballast_context_options *own, const ballast_context_options *given,
                            bl_error *err);
int bl_take_model_options(ballast_model_options *own, const ballast_model_options *given, bl_error *err);
int bl_take_generate_options(ballast_generate_options *own, const ballast_generate_options *given,
                             bl_error *err);
int bl_take_placement_options(ballast_placement_options *own, const ballast_placement_options *given,
                              bl_error *err);
int bl_take_tune_options(ballast_tune_options *own, const ballast_tune_options *given, bl_error *err);
int bl_take_plan_options(ballast_plan_options *own, const ballast_plan_options *given, bl_error *err);
/* Of one in a list. */
int bl_take_adapter(ballast_adapter *own, const ballast_adapter *given, bl_error *err);
int bl_take_expected(ballast_expected *own, const ballast_expected *given, bl_error *err);
int bl_take_png_options(ballast_png_options *own, const ballast_png_options *given, bl_error *err);

/* ---- adapters.c */

/* Puts our own list in the place of the caller's, which may be of another version of the header. *own: the
 * list, freed by the caller; NULL where there are none. BL_E_ARGUMENT. */
int bl_take_adapters(ballast_adapter **own, ballast_generate_options *o, bl_error *err);

/* ---- place.c */

/* Fills what a generation's options leave open with what the context says. Texts are borrowed from it. */
void bl_place_fill(ballast_generate_options *o, const ballast_context *context);
/* The same with what the model's file recommends, or what suits most models. */
void bl_recommended_fill(ballast_generate_options *o, const ballast_model *model);
void bl_place_free(ballast_placement_options *placement);

/* ---- generate.c */

bl_pipeline bl_pipeline_of(const ballast_model *m);

/* ---- expect.c */

/* What is likely to come after a request, as the pipeline takes it: `next` of its options, or, where there is
 * none, what came after the model's generations lately. *out: [*count], freed by the caller; NULL for none.
 */
int bl_expect(bl_expected **out, int *count, const ballast_model *model, const ballast_generate_options *o,
              bl_error *err);
/* A generation of the model has been made. Copies what it needs. */
void bl_habit_note(ballast_model *model, const ballast_generate_options *o);
/* The model is not expected any more, until it makes its next picture. */
void bl_habit_forget(ballast_model *model);

/* ---- turn.c */

/* A call that is at work. */
typedef struct bl_turn {
    ballast_context *context;
    ballast_model *model;
    int threads_before; /* of the calling thread's loops: they are its own again afterwards */
} bl_turn;

/* Whether the calling thread's own call is at work: it stands still while a callback looks around. */
bool bl_turn_is_ours(const ballast_context *context);

/* Takes the context for the calling thread; `model`, of this context or NULL: what ballast_cancel can stop.
 * BL_E_BUSY when another call has it, BL_E_ARGUMENT after a fork; `what` is the function for the message. */
int bl_turn_begin(bl_turn *turn, ballast_context *context, ballast_model *model, const char *what,
                  bl_error *err);
void bl_turn_end(bl_turn *turn);

/* What generating, planning, calibrating and tuning begin with: the caller's options as ours, and the turn.
 * *adapters: freed by the caller, in any case. */
int bl_begin(bl_turn *turn, ballast_generate_options *own, ballast_adapter **adapters, ballast_model *model,
             const ballast_generate_options *given, const char *what, bl_error *err);

/* For work whose pictures nobody gets: no callback takes one, and nothing is expected to follow. */
void bl_leave_out_results(ballast_generate_options *o);

/* Hands over a JSON object as text; takes the object, also on failure. */
int bl_json_text(char **out, json_t *object, bl_error *err);

#endif
