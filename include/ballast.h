/* Ballast: text to image with Stable Diffusion checkpoints (SD1.x, SD2.x, SDXL).
 *
 * Order of use: ballast_context_open -> ballast_model_open -> ballast_generate (any number of times) ->
 * ballast_model_close -> ballast_context_close.
 *
 * Errors. Every function that can fail returns BALLAST_OK or a negative code and, where `err` is not NULL,
 * writes a one-line message that says what, where and what to do. A pointer that is NULL where this header
 * does not allow it is refused with BALLAST_E_ARGUMENT and its name. After a failure what would have come out
 * is NULL or 0.
 *
 * Ownership. What comes out through a pointer to a pointer belongs to the caller, who gives it back to the
 * function that is named beside it; strings and structs that callbacks get are borrowed for the call. The
 * close and free functions set the pointer to NULL and accept NULL.
 *
 * Options. Every options struct starts with `struct_size`; its _init function, called with the struct's
 * sizeof, sets that and the defaults that are given beside the fields. A text that is NULL stands for its
 * default. Later versions only append fields. A program that was built with an older header goes on working:
 * what its struct does not have yet has its default. One that was built with a newer header works too, as
 * long as it leaves the fields that this library does not know at 0; else the call is refused.
 *
 * Threads. One call at a time works on a context and its models; a second one, from another thread or from a
 * callback, is refused with BALLAST_E_BUSY. ballast_cancel, the functions on files and names, and calls on
 * other contexts may be used at any time, from callbacks too. Contexts do not survive fork(). docs/threads.md
 * says more, and what of a process is shared. Work is done by OpenMP's threads (libgomp), which spin for some
 * 15 ms before they sleep; a program that shares its cores with others is started with GOMP_SPINCOUNT=1000 in
 * its environment, as the command does by itself. */
#ifndef BALLAST_H
#define BALLAST_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define BALLAST_API __attribute__((visibility("default")))
#else
#define BALLAST_API
#endif

#define BALLAST_VERSION "0.2.0"

/* ---- errors */

enum ballast_code {
    BALLAST_OK = 0,
    BALLAST_E_ARGUMENT = -1,    /* a value that was given is not usable */
    BALLAST_E_NOT_FOUND = -2,   /* no such file, tensor, sampler, ... */
    BALLAST_E_FORMAT = -3,      /* a file is damaged or not what it should be */
    BALLAST_E_UNSUPPORTED = -4, /* recognised, but not something Ballast runs */
    BALLAST_E_MEMORY = -5,      /* the system has no memory left */
    BALLAST_E_BUDGET = -6, /* it does not work within the budget; the message holds the smallest that does */
    BALLAST_E_IO = -7,     /* reading or writing failed */
    BALLAST_E_CANCELLED = -8, /* a callback, or ballast_cancel, asked to stop */
    BALLAST_E_NUMERIC = -9,   /* NaN or infinity in a result */
    BALLAST_E_DEVICE = -10,   /* the device or its library failed */
    BALLAST_E_INTERNAL = -11, /* a mistake in Ballast */
    BALLAST_E_BUSY = -12      /* another call is at work on this context, or its models are still open */
};

/* The one struct that has no size in it and never grows. */
typedef struct ballast_error {
    int code;
    char message[1024];
} ballast_error;

/* Version of the library that runs, as BALLAST_VERSION was when it was built. Static storage. */
BALLAST_API const char *ballast_version(void);

/* Frees what the library returned as a string. */
BALLAST_API void ballast_string_free(char **text);

/* ---- context: a device and the threads that drive it */

typedef struct ballast_context ballast_context;
typedef struct ballast_model ballast_model;

enum ballast_log_level { BALLAST_LOG_WARNING, BALLAST_LOG_INFO, BALLAST_LOG_DEBUG };

/* What could compute here, as JSON: a list of objects with "device" (what ballast_context_options takes), and
 * with "name", "memory_bytes", "free_bytes", "own_bytes" (that driver and libraries hold), "copy_rate" (bytes
 * a second into it, as far as it is known; else 0), "copy_slowdown" (by what share compute takes longer while
 * copies run beside it; 0.08 is 8%; likewise), "dtypes", "auto_dtype", "host_store" and "text", which
 * says the numbers for people, or, where it cannot be opened, "error": a line that says why. Free with
 * ballast_string_free. */
BALLAST_API int ballast_devices(char **json, ballast_error *err);

typedef struct ballast_context_options {
    size_t struct_size;
    int threads; /* 0: the physical cores that this process may use */
    /* "auto": all the CPU has; "plain", "avx2", "avx512": nothing newer than that. One choice a process: that
     * of its first context on the cpu; another one is refused later. */
    const char *isa;
    const char *device; /* "cpu"; "cuda", "cuda:1": an NVIDIA card (docs/cuda.md); "auto": a card where there
                           is one; "sim:FILE": a described machine, "cuda:FILE": a card's own file: these plan
                           but make no pictures */
    const char *cache_dir; /* calibration and file hashes; NULL: $XDG_CACHE_HOME/ballast or ~/.cache/ballast;
                              "": none */
    /* Lines for people, of a ballast_log_level each; NULL: silent. Called in the thread whose call has
     * something to say, before that call returns. */
    void (*log)(void *payload, int level, const char *line);
    void *log_payload;
    /* 64; chunks of 75 tokens whose encodings are kept in host memory, 1 MiB for each at most, for all models
     * of the context: a text that is among them is not encoded again. 0: none are kept. They go with their
     * model, and with the context. */
    size_t text_cache;
} ballast_context_options;

BALLAST_API void ballast_context_options_init(ballast_context_options *options, size_t struct_size);

/* `options` may be NULL. Close with ballast_context_close, after its models. */
BALLAST_API int ballast_context_open(ballast_context **out, const ballast_context_options *options,
                                     ballast_error *err);

/* BALLAST_E_BUSY, and all stays as it was, while a call is at work on it or a model of it is open; the log
 * says which. */
BALLAST_API int ballast_context_close(ballast_context **context);

/* The context's device as a described machine: the text of a file that "sim:FILE" reads, with the memory,
 * rates and name of the device, so that what was measured on it counts there, too. Who plans while the
 * context is at work, or wants to touch no card, opens a context on that. Free with ballast_string_free. */
BALLAST_API int ballast_context_describe(char **json, ballast_context *context, ballast_error *err);

/* How the models of a context share the device's memory: one budget, one plan for all of them. See
 * docs/offload.md. */
typedef struct ballast_placement_options {
    size_t struct_size;
    const char *offload;        /* "auto"; "none", "model", "sequential", "balanced" */
    const char *budget;         /* NULL: what is free; "6G", "800M", "80%": packed weights and activations of
                                   all models together */
    const char *reserve;        /* NULL: nothing; kept free inside the budget, or of what is free */
    double low, high;           /* -1: by size; watermarks of "balanced", fractions of the memory */
    const char *never, *always; /* NULL; module names (and model types for `never`), separated by commas */
    size_t fit_check;           /* 1 */
    const char *host_budget; /* NULL: what the host has free; "16G": for weights that wait in host memory, on
                                devices whose weights do */
} ballast_placement_options;

BALLAST_API void ballast_placement_options_init(ballast_placement_options *options, size_t struct_size);

/* What generations of this context's models use from now on, where their own options leave it open. Texts are
 * copied. `options` NULL: the defaults above. */
BALLAST_API int ballast_context_place(ballast_context *context, const ballast_placement_options *options,
                                      ballast_error *err);

/* ---- model: a checkpoint, ready to make pictures */

typedef struct ballast_model_options {
    size_t struct_size;
    const char *path;       /* a .safetensors or .gguf file, or a diffusers folder */
    const char *vae_path;   /* NULL: the checkpoint's own, or NAME.vae.safetensors beside it */
    const char *dtype;      /* "auto": bf16 where the CPU has instructions for it; "f32"; "bf16" */
    const char *vae_dtype;  /* the same for the VAE; NULL: as dtype */
    const char *prediction; /* "auto": what the checkpoint says; "epsilon"; "v" */
    const char *zsnr;       /* trained with betas rescaled to zero terminal SNR? "auto": what the checkpoint
                               says; "on"; "off" */
    /* [text_encoder_count], or NULL: files or folders with text encoders to use instead of the checkpoint's
     * own, or for a unet alone. Which one a file holds is read from its tensors; a file may hold both of
     * SDXL's. */
    const char *const *text_encoder_paths;
    size_t text_encoder_count;
    const char *taesd_path; /* NULL; a safetensors file with TAESD's decoder, the authors' or diffusers', made
                               for this model's family: what `decode` "taesd" takes. Or a folder, of which the
                               family's is taken: taesd_decoder.safetensors of SD 1.x and 2.x,
                               taesdxl_decoder.safetensors of SDXL (docs/server.md) */
} ballast_model_options;

BALLAST_API void ballast_model_options_init(ballast_model_options *options, size_t struct_size);

/* Reads and checks the checkpoint's headers; weights are read when they are needed. The context must outlive
 * it. */
BALLAST_API int ballast_model_open(ballast_model **out, ballast_context *context,
                                   const ballast_model_options *options, ballast_error *err);

/* BALLAST_E_BUSY, and all stays as it was, while a call is at work on its context; the log says so. */
BALLAST_API int ballast_model_close(ballast_model **model);

/* Gives the model's places on the device back; it stays open, and its weights come again when it makes its
 * next picture. When no model holds anything the memory goes back to the system. */
BALLAST_API int ballast_model_release(ballast_model *model, ballast_error *err);

/* Where the model's weights lie now, as JSON (docs/report.md, "Residency"): each module, block by block. From
 * a callback of a call on its context, too: it is as things stand between two blocks then. Free with
 * ballast_string_free. */
BALLAST_API int ballast_model_residency(char **json, ballast_model *model, ballast_error *err);

/* Stops the call that is at work on this model now; from any thread, callbacks and signal handlers included.
 * 1: there is one, and it returns BALLAST_E_CANCELLED as soon as it looks, many times a second while it
 * computes; it may still succeed if it was as good as done. 0: there is none; a call that begins later is not
 * stopped. Who may be too early keeps a mark of its own and answers with it from the `progress` callback,
 * which is asked before any work. The model must stay open until ballast_cancel has returned. */
BALLAST_API int ballast_cancel(ballast_model *model);

/* What the checkpoint holds, as JSON: architecture, prediction, what the file recommends ("steps" and "cfg",
 * null where it does not say: its metadata "ballast.steps" and "ballast.cfg"), modules with tensors, dtypes,
 * bytes, blocks. With width and height > 0 also the arena of every module at that picture size. Free with
 * ballast_string_free. */
BALLAST_API int ballast_model_inspect(char **json, ballast_model *model, int width, int height,
                                      ballast_error *err);

/* ---- pictures */

/* What callbacks get is filled by the library, up to `struct_size`. */

typedef struct ballast_image {
    size_t struct_size;
    int width, height;
    const uint8_t *rgb;     /* [height, width, 3] */
    uint64_t seed;          /* the seed this picture was made from */
    const char *parameters; /* what made it, in the form that A1111 writes into PNG files; UTF-8 */
    int index;              /* 0, 1, ... within the request */
    int step;               /* of a preview: 1, 2, ..., again from 1 in the second pass; else 0 */
} ballast_image;

typedef struct ballast_latents {
    size_t struct_size;
    const float *data; /* [channels, height, width] */
    int channels, height, width;
    int index;     /* 0, 1, ... within the request */
    uint64_t seed; /* the seed they were made from */
} ballast_latents;

typedef struct ballast_progress {
    size_t struct_size;
    const char *stage; /* "prompt", "denoise", "decode", "upscale", "encode", "hires", "hash" */
    int step, steps;   /* within the stage; 0 of 0 where it has none */
    int image, images; /* first picture of the batch now in work, pictures of the request */
    double seconds;    /* since the stage began */
    /* Weights that have to be brought in for the stage's first step, and how many of them were begun with; 0
     * of 0: none, or all are here. At first it is loading that takes the time. */
    uint64_t load_bytes, loaded_bytes;
} ballast_progress;

typedef struct ballast_generate_options {
    size_t struct_size;
    const char *prompt;          /* UTF-8; in the syntax of the program that `compat` names */
    const char *negative_prompt; /* NULL: "" (with compat "diffusers": no negative prompt) */
    int width, height;    /* multiples of 8; 0: the model's own size, or of a start picture its shape at
                             the model's own number of pixels */
    int steps;            /* 0: what the model's file recommends, or 20 */
    const char *sampler;  /* NULL: "DPM++ 2M", or what suits the model */
    const char *schedule; /* NULL: what suits sampler and compat */
    double cfg;           /* -1: what the model's file recommends, or 7; 1 skips the unconditional half */
    double cfg_rescale;   /* 0; 0..1, pulls guidance's contrast back (arXiv 2305.08891, section 3.4) */
    double eta;           /* -1: the sampler's own (DDIM 0, ancestral 1) */
    uint64_t seed;        /* 0; 2^64 - 1 is followed by 0 */
    int batch;            /* 1: pictures computed together */
    int count;            /* 1: batches, one after the other; seeds go up by one a picture: `seed`, or
                             with variation `variation_seed` instead */
    int clip_skip;        /* 0: the model's own; N: the text encoder's Nth hidden state from the end, as
                             the program that `compat` names counts (docs/accuracy.md) */
    const char *rng;      /* "cpu": torch's CPU generator; "gpu": torch's CUDA generator */
    const char *compat;   /* "a1111", "comfyui" or "diffusers": whose rules to follow */
    uint64_t variation_seed;
    double variation_strength; /* 0..1 */

    /* image to image: pixels in, or NULL */
    const uint8_t *init_rgb; /* [init_height, init_width, 3]; made width x height as `fit` says */
    int init_width, init_height;
    double strength; /* 0.75; how much of the schedule is run on it, 0..1 */

    /* second pass at a larger size; hires_scale 0: none */
    double hires_scale;         /* e.g. 1.5 */
    int hires_steps;            /* 0: as steps */
    double hires_strength;      /* 0.5 */
    const char *hires_upscaler; /* "latent", "latent-nearest", "latent-nearest-exact", "latent-bicubic", ...,
                                   "lanczos" */

    /* NULL, or what to start from instead of seeded noise: [latents_batch, channels of the model's latents,
     * height/8, width/8], unit variance */
    const float *latents;
    int latents_batch, latents_height, latents_width;

    /* placement of weights, for this generation alone; NULL, or below 0: as ballast_context_place said */
    const char *offload;
    const char *budget;
    const char *reserve;
    double low, high;
    const char *never, *always;
    int fit_check;
    const char *tiled_decode; /* "off"; "auto": decode and encode in tiles, which changes the picture
                                 slightly, if the budget is too small to do without; "on": always */
    int hints;                /* 1: say after the last batch what setting would have made it faster */
    int verbose;              /* 0; 1: also hold the plan against what happened */
    const char *trace_path;   /* NULL; where to write the whole request's ledgers as Chrome trace events */

    /* Callbacks; any may be NULL. All are called in the thread that called ballast_generate. Anything but 0
     * stops the work with BALLAST_E_CANCELLED. `progress` is called at the start of a stage, after each step,
     * and between the blocks of the model, many times a second. */
    int (*progress)(void *payload, const ballast_progress *progress);
    /* a finished picture */
    int (*image)(void *payload, const ballast_image *image);
    /* the picture as it may become, made as `previews` says, after each `preview_every` steps; its
     * `parameters` are "" */
    int (*preview)(void *payload, const ballast_image *image);
    /* final latents of a picture, before decoding */
    int (*save_latents)(void *payload, const ballast_latents *latents);
    void *payload;

    /* [next_count] generations that are likely to come after this one, at most 6: `auto` leaves on the device
     * what they need. NULL: what came after this model's generations before in this context is likely to come
     * again. A list with a next_count of 0: nothing is known */
    const struct ballast_expected *next;
    size_t next_count;

    /* settings of A1111's; with another `compat` they change nothing */
    int pad_conds; /* 0; 1: the shorter of prompt and negative prompt is padded with empty chunks ("Pad
                      conds") */
    int ensd;      /* 0; what the seed of the noise between steps is raised by ("Eta noise seed delta") */

    const char *host_budget; /* placement, too; NULL: as ballast_context_place said */
    size_t latents_channels; /* 0: `latents` has as many as the model's have; else how many it has */
    const char *fit; /* how a start picture of another shape becomes width x height: "crop", what sticks
                        out is cut off on both sides alike; "stretch"; "pad", all of it is there and its
                        edges are repeated */

    /* [seed_count], or NULL: as `seed` says; the seed of each picture: batch * count */
    const uint64_t *seeds;
    size_t seed_count;
    /* Is picture `index` enough as it is now? Asked of each that is in work after each step but the last, and
     * before a batch begins. Anything but 0: it stays what the step predicted (`preview` showed it), whatever
     * steps follow for the batch's others. When all of a batch are enough its other steps are left out, a
     * second pass enlarges what there is, and they are decoded; a batch of which all are enough before it
     * begins is not made. */
    int (*enough)(void *payload, int index);

    /* [adapter_count] adapters (LoRA and its kin) that the picture is made with, added to the weights in this
     * order; those that tags in the prompt name (<lora:NAME:TE:UNET>) come behind them */
    const struct ballast_adapter *adapters;
    size_t adapter_count;
    const char *adapter_folders; /* where tags' names are looked for, ':' between folders; NULL: `lora` beside
                                    the model */
    const char *missing_adapters; /* NULL, "refuse": a name that is not there is BALLAST_E_NOT_FOUND; "leave":
                                     the picture is made without it, and a line says so */
    const char
        *embedding_folders; /* where embeddings (textual inversion) are, ':' between folders; the name of one
                               in a prompt stands for its vectors; NULL: `embeddings` beside the model */
    const char *previews;   /* "linear": a pixel for 8x8 of the picture's, made from the latents by a fixed
                               linear map; "taesd": the whole, by the model's TAESD, at most 20 of a pass and
                               none after the last step; "none". They change nothing in the picture */
    size_t preview_every;   /* 1: steps from one preview to the next */
    const char *decode; /* "vae"; "taesd": the model's TAESD makes the pictures of latents, sooner and in less
                           memory: drafts */
    double guidance; /* -1: what the model's makers recommend; 0..100, the guidance that a network reads as a
                        number (FLUX.1 dev's "distilled CFG scale"), beside `cfg`; others read none */
} ballast_generate_options;

/* An adapter and how much of it is added: 1 is what it was trained for, 0 nothing; below 0 it is taken away.
 */
typedef struct ballast_adapter {
    size_t struct_size;    /* of a list's entries all have the same */
    const char *path;      /* a safetensors file */
    double text, denoiser; /* 1: strengths for the text encoders, and for the denoiser */
} ballast_adapter;

BALLAST_API void ballast_adapter_init(ballast_adapter *adapter, size_t struct_size);

/* What an adapter's file is, as JSON: kind, ranks, family, how many layers of which module it changes, words
 * it was trained with (docs/adapters.md, "Looking into one"). BALLAST_E_FORMAT: it is none. Only its header
 * is read. Free with ballast_string_free. */
BALLAST_API int ballast_adapter_inspect(char **json, const char *path, ballast_error *err);

/* What a TAESD decoder's file is, as JSON: {"taesd": its path, "layout" ("authors" or "diffusers"),
 * "channels", "latent_channels", "type", "tensors", "bytes", "family" (by the file's name, "SDXL base"; null:
 * it has another)}. BALLAST_E_FORMAT: it is none. Only its header is read. Free with ballast_string_free. */
BALLAST_API int ballast_taesd_inspect(char **json, const char *path, ballast_error *err);

/* What an embedding's file is, as JSON: {"embedding": its path, "vectors", "width" (numbers of a vector, of
 * SDXL's two encoders together), "family": "SD 1.x"}. BALLAST_E_FORMAT: it is none, or one for no family that
 * is known. Only its header is read. Free with ballast_string_free. */
BALLAST_API int ballast_embedding_inspect(char **json, const char *path, ballast_error *err);

/* The adapters in folders (':' between them) and in folders within these, as JSON: [{"name", "alias" (what
 * its metadata calls it, or null), "path"}], sorted by name. Free with ballast_string_free. */
BALLAST_API int ballast_adapters_list(char **json, const char *folders, ballast_error *err);

/* The embeddings in folders, as JSON: [{"name", "path", "vectors" (how many), "width" (numbers of each),
 * "family" (whose text encoder reads them: "SD 1.x", "SD 2.x", "SDXL", "another family")}], sorted by name.
 * Files that hold none are left out. Free with ballast_string_free. */
BALLAST_API int ballast_embeddings_list(char **json, const char *folders, ballast_error *err);

BALLAST_API void ballast_generate_options_init(ballast_generate_options *options, size_t struct_size);

/* A generation that may come next: a queue's next ones are certain (likelihood 1) and come in their order; of
 * the others one comes next, and their likelihoods add up to 1 at most. Certain ones stand first. */
typedef struct ballast_expected {
    size_t struct_size;   /* of a list's entries all have the same */
    ballast_model *model; /* of the same context */
    const ballast_generate_options *options;
    double likelihood; /* 1 */
} ballast_expected;

BALLAST_API void ballast_expected_init(ballast_expected *expected, size_t struct_size);

/* Makes the pictures; each goes to the `image` callback as soon as it is finished. *report (may be NULL)
 * becomes JSON, as docs/report.md says: what was done, the plan, where the time went, a hint; free with
 * ballast_string_free. */
BALLAST_API int ballast_generate(char **report, ballast_model *model, const ballast_generate_options *options,
                                 ballast_error *err);

typedef struct ballast_plan_options {
    size_t struct_size;
    int compare;          /* 1: a row for each mode */
    const char *sweep;    /* NULL; "2G:24G": seconds against budget; "2G:24G:45" in so many steps */
    const char *svg_path; /* NULL; where to plot the sweep, in every mode, as SVG */
    const char *advise;   /* NULL; "sdnext", "comfyui", "sdcpp", "diffusers": what to set in that program */
} ballast_plan_options;

BALLAST_API void ballast_plan_options_init(ballast_plan_options *options, size_t struct_size);

/* What this generation would cost, without running it or reading a weight: phases, residents, peak, seconds
 * and their lower bounds. `plan` may be NULL. *json and *text (each may be NULL) say the same, for programs
 * and for people; free both with ballast_string_free. */
BALLAST_API int ballast_plan(char **json, char **text, ballast_model *model,
                             const ballast_generate_options *options, const ballast_plan_options *plan,
                             ballast_error *err);

/* Measures what plans are made of, copy rate and seconds of every block, by running this generation twice
 * with two steps and throwing the pictures away. Kept in the context's cache_dir. */
BALLAST_API int ballast_calibrate(ballast_model *model, const ballast_generate_options *options,
                                  ballast_error *err);

typedef struct ballast_tune_options {
    size_t struct_size;
    double seconds;   /* 180; that it may take, 1 to 86400 */
    const char *bits; /* "same": only what leaves every bit of the picture as it is; "any": also what changes
                         the last ones */
    /* Rows of the table while it works; NULL: none. Called as the other callbacks are. */
    void (*line)(void *payload, const char *line);
    void *payload;
} ballast_tune_options;

BALLAST_API void ballast_tune_options_init(ballast_tune_options *options, size_t struct_size);

/* Finds by measuring how this generation's phases run fastest here, and keeps it in the context's cache_dir:
 * later generations with the same model, type and shapes on this machine run so, and say so once
 * (docs/tune.md). `tune` may be NULL. *text: the line that it ends with; *json: that and all that was tried;
 * free both with ballast_string_free, each may be NULL. One that is stopped (BALLAST_E_CANCELLED) keeps what
 * it has found, and hands over both, too. */
BALLAST_API int ballast_tune(char **json, char **text, ballast_model *model,
                             const ballast_generate_options *options, const ballast_tune_options *tune,
                             ballast_error *err);

/* What was tuned, of all machines and models that cache_dir knows, as JSON that ballast_tuned_import reads.
 * Free with ballast_string_free. BALLAST_E_IO: it cannot be read, as where another process holds it. */
BALLAST_API int ballast_tuned(char **json, ballast_context *context, ballast_error *err);
/* Forgets it: of models like `model`, or, where that is NULL, all. *count (may be NULL): how many entries. */
BALLAST_API int ballast_tuned_forget(int *count, ballast_context *context, const ballast_model *model,
                                     ballast_error *err);
/* Takes in what ballast_tuned wrote on a machine like this one; *count (may be NULL) entries.
 * BALLAST_E_FORMAT: it is something else, and nothing of it was taken. */
BALLAST_API int ballast_tuned_import(int *count, ballast_context *context, const char *json,
                                     ballast_error *err);

/* ---- single modules, for those who port models */

/* Runs "text_encoder", "text_encoder_2", "unet" or "transformer", "vae_decoder", "vae_encoder" or "taesd" on
 * every case of a safetensors file (tensors "CASE.sample", "CASE.timestep", "CASE.context", ... or the same
 * without a case) and writes the outputs under the names that go with them ("CASE.output", ...). A tensor
 * "CASE.at.INNER", whose values do not matter, asks for the output of that inner module (named as diffusers
 * does, "mid_block") too. An existing file is replaced only if `overwrite` is not 0. */
BALLAST_API int ballast_eval(ballast_model *model, const char *module, const char *inputs_path,
                             const char *outputs_path, int overwrite, ballast_error *err);
/* The same with [adapter_count] adapters added to the module's weights. */
BALLAST_API int ballast_eval_adapted(ballast_model *model, const char *module, const char *inputs_path,
                                     const char *outputs_path, int overwrite,
                                     const struct ballast_adapter *adapters, size_t adapter_count,
                                     ballast_error *err);

/* ---- pictures and latents in files */

typedef struct ballast_png_options {
    size_t struct_size;
    const uint8_t *rgb; /* [height, width, 3] */
    int width, height;
    const char *parameters; /* NULL: none; text that other programs read, as ballast_image has it; UTF-8 */
} ballast_png_options;

BALLAST_API void ballast_png_options_init(ballast_png_options *options, size_t struct_size);

/* Encodes a PNG. *png: [*bytes], freed with ballast_bytes_free. */
BALLAST_API int ballast_image_encode_png(uint8_t **png, size_t *bytes, const ballast_png_options *options,
                                         ballast_error *err);
BALLAST_API void ballast_bytes_free(uint8_t **bytes);

/* Writes a PNG to a temporary name and renames it. Refuses to replace a file unless `overwrite`. */
BALLAST_API int ballast_image_write_png(const ballast_png_options *options, const char *path, int overwrite,
                                        ballast_error *err);

/* Reads a PNG as RGB, upright by its EXIF orientation. *rgb: [*height, *width, 3], freed with
 * ballast_bytes_free. */
BALLAST_API int ballast_image_read_png(uint8_t **rgb, int *width, int *height, const char *path,
                                       ballast_error *err);

/* The same from a picture that is in memory: PNG, JPEG or WebP. *parameters (may be NULL) becomes the text
 * that our files, and A1111's, carry (PNG's chunk "parameters", EXIF's UserComment of others), or NULL where
 * there is none; freed with ballast_string_free. *transparent (may be NULL) becomes 1 where the picture was
 * in places, and was laid over white. More than `most_pixels` (0: only the reader's own limit) are refused
 * before they are decoded. */
BALLAST_API int ballast_image_decode(uint8_t **rgb, int *width, int *height, char **parameters,
                                     int *transparent, const void *data, size_t bytes, size_t most_pixels,
                                     ballast_error *err);

/* Reads the text that pictures carry, as A1111 does: `entry` is called with "Prompt", with "Negative prompt",
 * and with each key and value of the last line ("Steps", "20"), in order. Anything but 0 from it stops with
 * BALLAST_E_CANCELLED. */
typedef int ballast_entry_fn(void *payload, const char *key, const char *value);
BALLAST_API int ballast_parameters_read(const char *text, ballast_entry_fn *entry, void *payload,
                                        ballast_error *err);

/* Encodes as "png", "jpeg" or "webp"; `quality`, 0 to 100, counts for the last two. They carry the parameters
 * in EXIF's UserComment, as A1111 writes them; more than 32,000 characters do not fit, and are refused.
 * *file:
 * [*bytes], freed with ballast_bytes_free. */
BALLAST_API int ballast_image_encode(uint8_t **file, size_t *bytes, const char *form, int quality,
                                     const ballast_png_options *options, ballast_error *err);

/* The same into a file, as ballast_image_write_png writes a PNG. */
BALLAST_API int ballast_image_write(const ballast_png_options *options, const char *form, int quality,
                                    const char *path, int overwrite, ballast_error *err);

/* Resizes in [in_height, in_width, 3] with an upscaler of ballast_upscaler_name that works on pixels. *rgb:
 * [height, width, 3], freed with ballast_bytes_free. */
BALLAST_API int ballast_image_resize(uint8_t **rgb, int width, int height, const uint8_t *in, int in_width,
                                     int in_height, const char *upscaler, ballast_error *err);

/* Reads one F32 tensor [n, c, h, w] of a safetensors file, of any number of channels; `tensor` NULL: the only
 * one there. *data is freed with ballast_floats_free. */
BALLAST_API int ballast_latents_read(float **data, int shape[4], const char *path, const char *tensor,
                                     ballast_error *err);
/* Writes one F32 tensor [n, c, h, w] named "latents". */
BALLAST_API int ballast_latents_write(const float *data, const int shape[4], const char *path, int overwrite,
                                      ballast_error *err);
BALLAST_API void ballast_floats_free(float **data);

/* The names that samplers, schedules and upscalers are known by: number `index`, or NULL past the last.
 * Static storage. */
BALLAST_API const char *ballast_sampler_name(int index);
BALLAST_API const char *ballast_schedule_name(int index);
BALLAST_API const char *ballast_upscaler_name(int index);

/* The name above of a sampler that is called by any of its names; *schedule (may be NULL) becomes the
 * schedule behind it ("DPM++ 2M Karras"), or NULL. BALLAST_E_NOT_FOUND lists the names. */
BALLAST_API int ballast_sampler_find(const char **sampler, const char **schedule, const char *name,
                                     ballast_error *err);
/* 1: the sampler, by any of its names, computes with this option of a generation, "eta" or "ensd"; 0: it does
 * not, or there is no such sampler. */
BALLAST_API int ballast_sampler_takes(const char *name, const char *option);
BALLAST_API int ballast_schedule_find(const char **schedule, const char *name, ballast_error *err);

#ifdef __cplusplus
}
#endif

#endif
