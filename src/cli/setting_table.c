#include "cli/settings.h"

#include "ballast.h"

#define PICTURE (CMD_GENERATE | CMD_PLAN | CMD_CALIBRATE | CMD_TUNE)
#define MODEL (PICTURE | CMD_INSPECT | CMD_EVAL)
#define GENERATE(field) offsetof(ballast_generate_options, field)
#define NO_OPTION 0

const struct setting setting_table[S_COUNT_OF_SETTINGS] = {
#define SETTING(id, ...) [S_##id] = {__VA_ARGS__},
#include "cli/setting_list.inc"
#undef SETTING
};

const struct setting_group setting_groups[] = {
    {S_MODEL, "Model"},        {S_PROMPT, "Picture"},  {S_INIT_IMAGE, "Image to image, second pass"},
    {S_LATENTS, "Latents"},    {S_DTYPE, "Computing"}, {S_OFFLOAD, "Memory"},
    {S_ARENA, "This command"}, {S_MODELS, "Server"},   {S_JSON, "Output and settings"},
};
const int setting_group_count = sizeof setting_groups / sizeof *setting_groups;
