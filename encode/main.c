/*
 * atelier-encode: pictures to dVAE codes.
 *
 *   atelier-encode --dvae runs/dvae --in tar:train.tar --out lmdb:codes
 *   atelier-encode --dvae encoder.pkl --decoder decoder.pkl --reconstruct --in dir:photos --out dir:seen
 *
 * A picture's codes depend on it and the options alone: it is decoded, cropped to a square, area-resized and encoded by
 * itself.
 */
#include "common/err.h"
#include "common/random.h"
#include "common/stage.h"
#include "models/augment.h"
#include "models/dvae.h"
#include "models/model_path.h"
#include <stdlib.h>
#include <string.h>

enum { KEY_DVAE = 256, KEY_DECODER, KEY_SIDE, KEY_VIEWS, KEY_SEED, KEY_RECONSTRUCT, KEY_KEEP };

struct encode {
    const char *path, *decoder;
    int64_t side, views, seed;
    bool reconstruct, keep_image;
    struct dvae *dvae;
    int32_t *codes; /* [views, grid * grid] */
};

static int set_option(void *self, int key, const char *arg)
{
    struct encode *e = self;
    switch (key) {
    case KEY_DVAE:
        e->path = arg;
        return 0;
    case KEY_DECODER:
        e->decoder = arg;
        return 0;
    case KEY_SIDE:
        return option_int("side", arg, 8, 4096, &e->side);
    case KEY_VIEWS:
        return option_int("views", arg, 1, 1024, &e->views);
    case KEY_SEED:
        return option_int("seed", arg, 0, INT64_MAX, &e->seed);
    case KEY_KEEP:
        e->keep_image = true;
        return 0;
    default:
        e->reconstruct = true;
        return 0;
    }
}

static int start(void *self, struct stage_output *out)
{
    struct encode *e = self;
    (void)out;
    if (!e->path)
        return err_set(ERR_USAGE, "--dvae FILE is needed: a run's directory, a safetensors file, or encoder.pkl");
    const struct kernels *k = kernels_cpu();
    char *path = model_path(e->path);
    int rc = k ? dvae_open(&e->dvae, k, path, e->decoder, (int)e->side, 1) : -1;
    free(path);
    if (rc)
        return -1;
    if (e->reconstruct && dvae_config(e->dvae)->init == 0)
        return err_set(ERR_USAGE, "--reconstruct: %s has no decoder; name it with --decoder FILE", e->path);
    size_t grid = (size_t)dvae_grid(e->dvae);
    e->codes = xmalloc((size_t)e->views * grid * grid * sizeof *e->codes);
    return 0;
}

/* The codes of each view; `square` keeps the last view's pixels. */
static void encode_views(struct encode *e, const struct image *im, uint64_t id, struct image *square)
{
    int side = dvae_side(e->dvae), grid = dvae_grid(e->dvae);
    uint64_t key = random_key((uint64_t)e->seed, RANDOM_VIEW);
    for (int64_t v = 0; v < e->views; v++) {
        image_free(square);
        augment(im, e->views > 1 ? AUGMENT_PRIOR : AUGMENT_NONE, side, key, id * (uint64_t)e->views + (uint64_t)v,
                square);
        dvae_encode(e->dvae, square->rgb, 1, e->codes + v * grid * grid);
    }
}

static int process(void *self, struct record *r, struct stage_output *out)
{
    struct encode *e = self;
    struct image im = {0}, square = {0};
    if (!record_has(r, FIELD_IMAGE)) {
        record_reject(r, "image: none");
        return stage_emit(out, r);
    }
    if (image_decode(&im, r->image.data, r->image.len, 0, 1)) {
        record_reject(r, "image: %s", err_text());
        return stage_emit(out, r);
    }
    encode_views(e, &im, r->id, &square);
    size_t grid = (size_t)dvae_grid(e->dvae);
    record_set_ints(r, FIELD_CODES, e->codes, (size_t)e->views * grid * grid);
    record_set_number(r, FIELD_GRID, (double)grid);
    record_set_number(r, FIELD_WIDTH, im.width);
    record_set_number(r, FIELD_HEIGHT, im.height);
    int rc = 0;
    if (e->reconstruct) {
        struct buf png = {0};
        dvae_decode(e->dvae, e->codes, 1, square.rgb);
        rc = image_encode_png(&square, &png);
        record_set_string(r, FIELD_IMAGE, png.data, png.len);
        buf_free(&png);
    } else if (!e->keep_image) {
        record_drop(r, FIELD_IMAGE);
    }
    image_free(&im);
    image_free(&square);
    return rc ? -1 : stage_emit(out, r);
}

static void close_encode(void *self)
{
    struct encode *e = self;
    dvae_free(&e->dvae);
    free(e->codes);
}

static const struct argp_option options[] = {
    {"dvae", KEY_DVAE, "FILE", 0, "The dVAE: a run's directory, safetensors, or OpenAI's encoder.pkl", 0},
    {"decoder", KEY_DECODER, "FILE", 0, "OpenAI's decoder.pkl, for --reconstruct", 0},
    {"side", KEY_SIDE, "PIXELS", 0, "Side of the pictures it sees (default: what it was trained at)", 0},
    {"views", KEY_VIEWS, "K", 0, "Codes of K random crops (default 1: the centred square)", 0},
    {"seed", KEY_SEED, "N", 0, "Seed of the crops (default 0)", 0},
    {"reconstruct", KEY_RECONSTRUCT, NULL, 0, "Replace each picture by what its codes decode to (PNG)", 0},
    {"keep-image", KEY_KEEP, NULL, 0, "Keep the picture beside its codes", 0},
    {0},
};

int main(int argc, char **argv)
{
    static const struct stage stage = {
        .name = "encode",
        .doc = "Turns pictures into dVAE codes.",
        .options = options,
        .option = set_option,
        .start = start,
        .process = process,
        .close = close_encode,
    };
    struct encode e = {.views = 1};
    return stage_main(&stage, &e, argc, argv);
}
