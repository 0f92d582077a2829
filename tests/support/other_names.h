/* Text encoder and VAE of bl_synth_folder(family), each alone, under the names that others write. */
#ifndef BALLAST_TESTS_SUPPORT_OTHER_NAMES_H
#define BALLAST_TESTS_SUPPORT_OTHER_NAMES_H

/* The Qwen3 as llama.cpp names the tensors, or without "model.". */
void bl_test_qwen_llama(const char *path, const char *family);
void bl_test_qwen_bare(const char *path, const char *family);

/* The VAE as its authors name the tensors; convolutions of the latents, which Flux.1 has not, are in the
 * halves, as FLUX.2's authors have them. */
void bl_test_ldm_vae(const char *path, const char *family);

#endif
