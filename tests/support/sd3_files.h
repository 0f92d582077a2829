/* Folders of the tiny SD3.5 medium and SD3 of bl_synth_folder("sd3/..."). */
#ifndef BALLAST_TESTS_SUPPORT_SD3_FILES_H
#define BALLAST_TESTS_SUPPORT_SD3_FILES_H

#include <stdbool.h>

/* Makes the diffusers folder `path`, which is there, of "sd3/medium" or "sd3/first" with all of its parts and
 * a vocabulary of T5's kind, or without T5. */
void bl_test_sd3_folder(const char *path, const char *family, bool t5);

/* Writes a LoRA of medium's picture's queries, keys and values, of what modulates behind the blocks and the
 * last block's text, whose halves its authors have the other way round, and of CLIP G's first layer: as
 * kohya's tools name them, or by diffusers' names. */
void bl_test_sd3_lora(const char *path, bool kohya);

#endif
