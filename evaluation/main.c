/* alpaca-eval - how good the stories are: what the model knows, writes, and has by heart. */
#include "base/program.h"
#include "evaluation/commands.h"
#include "model/blas.h"

static const struct program_command commands[] = {
    {"prompts", "the original's prompts, and how it and these models go on", prompts_command},
    {"choices", "which of several texts the models find likelier", choices_command},
    {"texture", "stories from nothing beside real ones, and what of them is copied",
     texture_command},
    {"grade", "a page on which somebody grades all answers blind", grade_command},
    {"report", "all of it, as docs/evaluation.md and docs/evaluation.html", report_command},
};

int main(int argc, char **argv) {
    program_start();
    blas_init(argv);
    enum { COUNT = sizeof commands / sizeof *commands };
    return program_end("alpaca-eval",
                       program_run_command("alpaca-eval", commands, COUNT, argc, argv));
}
