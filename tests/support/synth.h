/* The checkpoints of tests/data, rebuilt bit for bit. A family's weights.json gives for each tensor name,
 * shape, scale, offset and a few fixed elements; the elements follow from a hash, so that no weight is
 * stored:
 *
 *     key  = FNV-1a (64 bit) of "{seed}:{family}:{component}:{name}"
 *     z    = output number i of SplitMix64 from state `key` (Steele, Lea, Flood 2014)
 *     n    = sum of the four 16-bit lanes of z, minus 131070
 *     w[i] = float(n + offset) * scale, rounded once; through F16 if the family is f16_exact; then the fixed
 * elements
 *
 * Files are kept in the folder that the environment calls BALLAST_TEST_CACHE, by default test-checkpoints in
 * the build folder, under a name that holds their digest. Tests that run at the same time wait for each
 * other. */
#ifndef BALLAST_TESTS_SUPPORT_SYNTH_H
#define BALLAST_TESTS_SUPPORT_SYNTH_H

#include "support/goldens.h"

typedef enum bl_synth_layout {
    BL_SYNTH_SINGLE,     /* LDM's names, F32 */
    BL_SYNTH_SINGLE_F16, /* the same in F16; only sd15, whose weights are exact in F16 */
    BL_SYNTH_FOLDER      /* diffusers folder, F32 */
} bl_synth_layout;

/* Path of the checkpoint of "sd15", "sd21v" or "sdxl", which is built if it is not there. Fails the running
 * test if its SHA-256 is not the one that weights.json gives. */
void bl_synth_checkpoint(char path[BL_TEST_PATH], const char *family, bl_synth_layout layout);

/* Path of the diffusers folder of a family whose files' digests are not known ("zimage"), F32, which is built
 * if it is not there. */
void bl_synth_folder(char path[BL_TEST_PATH], const char *family);

/* Path of one component of a family alone ("transformer" of "zimage"), F32 under diffusers' names, which is
 * built if it is not there. No digest of it is known. */
void bl_synth_component(char path[BL_TEST_PATH], const char *family, const char *component);

#endif
