/* Text to image, image to image and hires, as lists of phases. */
#ifndef BALLAST_PIPELINE_GENERATE_H
#define BALLAST_PIPELINE_GENERATE_H

#include "adapter/shelf.h"
#include "core/stop.h"
#include "pipeline/encodings.h"
#include "pipeline/model_hash.h"
#include "pipeline/modules.h"
#include "pipeline/request.h"
#include "pipeline/telling.h"
#include "pipeline/wordbook.h"
#include "text/tokenizer.h"

/* What a generation needs to know of its model. */
typedef struct bl_pipeline {
    bl_modules *modules;
    const bl_architecture *arch;
    const bl_tokenizer *tokenizer[BL_FAMILY_ENCODERS];
    bl_wordbook words;
    const char *model_name; /* for the picture's parameters: the file's name without folder and suffix */
    const bl_checkpoint *ckpt;
    bl_shelf *shelf;                /* its adapters */
    bl_encodings *encodings;        /* of texts, by all models of the context; NULL: none are kept */
    bl_model_hash *hash;            /* of the model's file, or NULL */
    const char *vae_name;           /* of an overriding VAE file, or NULL */
    const struct bl_expected *next; /* [next_count] requests that are likely to follow */
    int next_count;
    const char *recommended; /* a line of what the model's file recommends and the request has taken; NULL or
                                "": none */
    bool untuned;            /* what was tuned does not count */
    bool measured;           /* held against others: it has all that was kept, and does not judge it */
    int native_size;         /* pixels of a side that the model was trained for */
    bool again;              /* the model has made pictures before */
    bool *encoded;           /* becomes whether a text had to be encoded; may be NULL */
    const bl_stop *stop;     /* looked at wherever `progress` is called; may be NULL */
} bl_pipeline;

/* A request that is likely to come after this one; nothing of it is run. `options` as `o` below: complete. */
typedef struct bl_expected {
    bl_pipeline pipeline;
    ballast_generate_options options;
    double likelihood;
    bool again; /* it is this request again; `pipeline` and `options` do not count */
    bool anew;  /* its texts will not be known: they were not the last time */
    bool habit; /* nobody said so: where it cannot be declared it is left out */
} bl_expected;

/* Runs the whole request. *report (may be NULL) becomes a new JSON object. */
int bl_generate(json_t **report, const bl_pipeline *p, const ballast_generate_options *o, bl_error *err);

/* Plans it only; see bl_tell_plan. */
int bl_generate_plan(json_t **plan, char **text, const bl_pipeline *p, const ballast_generate_options *o,
                     const bl_plan_wish *wish, bl_error *err);

#endif
