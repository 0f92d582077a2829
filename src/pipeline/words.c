#include "pipeline/words.h"

#include <stdlib.h>
#include <string.h>

#define T5_END 1 /* its token behind a text */

static bool reads_t5(const bl_architecture *arch) {
    return arch->family->reader == BL_READER_T5;
}

/* Zeros stand for T5 where it is missing. */
static bool reads_words(const bl_architecture *arch) {
    return !reads_t5(arch) || arch->t5.layers;
}

#define NO_VOCABULARY "T5's vocabulary is missing: put tokenizer.json or spiece.model of its publishers "

/* Why nothing makes tokens of the family's prompts, as the end of a sentence. NULL: something does. */
static const char *unread(const bl_architecture *arch, const bl_wordbook *words) {
    const bool third = bl_family_words_module(arch->family) == BL_TEXT_ENCODER_3;
    return arch->family->unread                                 ? arch->family->unread
           : !reads_t5(arch) || !reads_words(arch) || words->t5 ? NULL
           : third ? NO_VOCABULARY "into tokenizer_3/ beside it, or give their folder with --text-encoder"
                   : NO_VOCABULARY "beside its file, or give its folder with --text-encoder";
}

int bl_words_need(const bl_architecture *arch, const bl_wordbook *words, bl_error *err) {
    const char *why = unread(arch, words);
    return why ? bl_fail(err, BL_E_UNSUPPORTED, "%s is planned and not run: %s", arch->family->name, why) : 0;
}

/* ---- prompt to tokens */

/* A language model reads it in the family's frame, T5 as it is. */
static int read_text(bl_token_list *list, const bl_wordbook *words, const bl_family_words *frame,
                     const char *text, bl_error *err) {
    const size_t before = strlen(frame->before), n = strlen(text), after = strlen(frame->after);
    if (words->t5) {
        return bl_unigram_encode(list, words->t5, text, n, err);
    }
    char *whole = malloc(before + n + after + 1);
    if (!whole) {
        return bl_fail_memory(err, "the prompt", before + n + after + 1);
    }
    memcpy(whole, frame->before, before);
    memcpy(whole + before, text, n);
    memcpy(whole + before + n, frame->after, after + 1);
    int result = bl_byte_bpe_encode(list, words->qwen, whole, before + n + after, err);
    free(whole);
    return result;
}

/* Leaves out what is too much, ends the text, fills up where the family does, and counts the rows. */
static int fit_text(bl_condition *c, int i, const bl_architecture *arch, bl_error *err) {
    const bl_family_words *frame = &arch->family->words;
    const int vocab = reads_t5(arch) ? arch->t5.vocab : arch->qwen3.vocab;
    bl_token_list *list = &c->words[i];
    const size_t most = (size_t)frame->most - (reads_t5(arch) ? 1 : 0);
    if (list->count > most) {
        c->words_left_out = c->words_left_out ? c->words_left_out : (int)(list->count - most);
        list->count = most;
    }
    int result = reads_t5(arch) ? bl_token_list_add(list, T5_END, err) : 0;
    for (size_t k = 0; k < list->count && !result; k++) {
        if (list->ids[k] >= vocab) {
            result = bl_fail(
                err, BL_E_FORMAT,
                "prompt: token %d is of no row of the text encoder's embeddings, of which there are %d",
                (int)list->ids[k], vocab);
        }
    }
    return result;
}

static int parse_text(bl_condition *c, int i, const bl_architecture *arch, const bl_wordbook *words,
                      const bl_tokenizer *const clip[BL_FAMILY_ENCODERS], bl_error *err) {
    const bl_family_words *frame = &arch->family->words;
    const char *text = c->texts.text[i];
    int result = 0;
    if (!unread(arch, words) && reads_words(arch)) {
        result = read_text(&c->words[i], words, frame, text, err);
        result = result ? result : fit_text(c, i, arch, err);
    }
    for (int e = 0; e < arch->family->encoders && reads_t5(arch) && !result; e++) {
        result = bl_prompt_parse(&c->text[e][i], clip[e], text, strlen(text), BL_PROMPT_PLAIN,
                                 arch->text[e].pad_token, err);
    }
    c->chunks[i] = 1;
    c->row_step = frame->row_step ? frame->row_step : 1;
    c->beside = frame->beside;
    c->length[i] = frame->filled ? bl_family_filled_rows(arch->family) : (int)c->words[i].count;
    return result;
}

int bl_words_parse(bl_condition *c, const bl_architecture *arch, const bl_wordbook *words,
                   const bl_tokenizer *const clip[BL_FAMILY_ENCODERS], bl_error *err) {
    const size_t n = (size_t)c->texts.count;
    int result = 0;
    c->words = calloc(n, sizeof *c->words);
    c->word_phase = calloc(n, sizeof *c->word_phase);
    if (!c->words || !c->word_phase) {
        return bl_fail_memory(err, "the prompt", n * sizeof *c->words);
    }
    for (int i = 0; i < c->texts.count && !result; i++) {
        result = parse_text(c, i, arch, words, clip, err);
    }
    return result;
}

void bl_words_clear(bl_condition *c) {
    for (int i = 0; c->words && i < c->texts.count; i++) {
        free(c->words[i].ids);
    }
    free(c->words);
    free(c->word_phase);
}

/* What A1111 and ComfyUI would read in it that is no more than its characters here. */
static const char *means_nothing(const char *text) {
    const char *colon = text;
    while ((colon = strchr(colon, ':')) != NULL) {
        colon++;
        const char *end = colon + strspn(colon, " 0123456789.");
        if (end > colon && (*end == ')' || *end == ']')) {
            return "weights";
        }
    }
    return strstr(text, " AND ") ? "AND" : strstr(text, "BREAK") ? "BREAK" : NULL;
}

void bl_words_tell(const bl_condition *c, const bl_request *r, const bl_architecture *arch,
                   const bl_log *log) {
    if (!c->words) {
        return;
    }
    if (c->words_left_out) {
        bl_log_line(log, BL_LOG_WARNING, "%s reads %d tokens of a prompt: the last %d are left out",
                    arch->family->name, arch->family->words.most, c->words_left_out);
    }
    for (int i = 0; i < c->texts.count && reads_t5(arch) && !reads_words(arch); i++) {
        if (c->text[0][i].left_out) { /* and nobody reads the rest */
            bl_log_line(log, BL_LOG_WARNING,
                        "%s without T5 reads 75 tokens of a prompt: the last %d are left out",
                        arch->family->name, c->text[0][i].left_out);
        }
    }
    const char *what = NULL;
    for (int i = 0; i < c->texts.count && !what; i++) {
        what = means_nothing(c->texts.text[i]);
    }
    if (what && r->compat != BL_COMPAT_DIFFUSERS) {
        bl_log_line(log, BL_LOG_WARNING,
                    "%s reads prompts as they are written: %s in them mean%s nothing more",
                    arch->family->name, what, what[0] == 'w' ? "" : "s");
    }
    if (r->compat == BL_COMPAT_A1111 && r->o->pad_conds) {
        bl_log_line(log, BL_LOG_WARNING, "pad-conds changes nothing: prompts of %s have no chunks",
                    arch->family->name);
    }
}
