/* alpaca-pack: a model folder as the one file that a browser downloads, for `make web`. */
#include "base/buffer.h"
#include "base/file.h"
#include "base/flags.h"
#include "base/hash.h"
#include "base/program.h"
#include "engine/engine.h"
#include "model/blas.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct options {
    const char *model, *out;
};

#define AT(member) offsetof(struct options, member)
static const struct flag rows[] = {
    {"model", FLAG_TEXT, AT(model), NULL, 0, 0, "FOLDER",
     "Model folder; by default the best one in weights/ here or beside the program"},
    {"out", FLAG_TEXT, AT(out), "build/web/web", 0, 0, "FOLDER", "Where the files go"},
};
static const struct flag_table table = {
    .usage = "alpaca-pack [options]",
    .summary = "Packs a model for browsers: NAME-HASH.pack, and engine.json, which names it.",
    .flags = rows,
    .count = sizeof rows / sizeof *rows,
};

/* Its name changes with the bytes, so that a copy that a browser keeps is never an old one. The
 * model's own name may have letters that an address cannot have. */
static enum status write_files(const char *folder, const struct buffer *pack, struct error *err) {
    char name[64], path[FILE_PATH_BYTES];
    struct buffer manifest = {0};
    snprintf(name, sizeof name, "model-%016" PRIx64 ".pack",
             hash_bytes(0, pack->data, pack->size));
    buffer_printf(&manifest, "{\"pack\":\"%s\",\"bytes\":%zu}\n", name, pack->size);
    enum status status = manifest.failed ? error_set(err, STATUS_NO_MEMORY, "no memory")
                                         : file_make_folder(folder, err);
    if (status == STATUS_OK)
        status = file_join(path, folder, name, err);
    if (status == STATUS_OK)
        status = file_replace(path, pack->data, pack->size, err);
    if (status == STATUS_OK)
        status = file_join(path, folder, "engine.json", err);
    if (status == STATUS_OK)
        status = file_replace(path, manifest.data, manifest.size, err);
    if (status == STATUS_OK)
        printf("%s/%s: %.1f MB\n", folder, name, (double)pack->size / 1e6);
    buffer_free(&manifest);
    return status;
}

int main(int argc, char **argv) {
    static const struct scheduler_options scheduler = {
        .slots = 1, .queue = 1, .threads = 1, .prefill_chunk = 1, .stepped = true};
    struct options options;
    struct engine engine = {0};
    struct buffer pack = {0};
    struct error err = {0};
    int arguments = argc - 1;
    bool help_shown = false;
    program_start();
    blas_init(argv);
    enum status status =
        flags_parse(&table, &options, &arguments, argv + 1, &help_shown, &err);
    if (status == STATUS_OK && help_shown)
        return program_end("alpaca-pack", EXIT_SUCCESS);
    if (status == STATUS_OK)
        status = flags_used("model", engine_open(&engine, options.model, "int8", &scheduler, &err),
                            &err);
    if (status == STATUS_OK)
        status = engine_pack(&engine, &pack, &err);
    if (status == STATUS_OK)
        status = flags_used("out", write_files(options.out, &pack, &err), &err);
    engine_close(&engine);
    buffer_free(&pack);
    if (status != STATUS_OK)
        fprintf(stderr, "alpaca-pack: %s\n", err.message);
    return program_end("alpaca-pack", status == STATUS_OK ? EXIT_SUCCESS : EXIT_FAILURE);
}
