/* Says where a small checkpoint of SD 1.5's shape is; it is made where it is not there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/synth.h"

#include <stdio.h>

int main(void) {
    char path[BL_TEST_PATH];
    bl_synth_checkpoint(path, "sd15", BL_SYNTH_SINGLE_F16);
    puts(path);
    return 0;
}
