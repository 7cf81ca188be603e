/*
 * atelier-encode: pictures to dVAE codes.
 *
 *   atelier-encode --dvae runs/dvae --in tar:train.tar --out lmdb:codes
 *   atelier-encode --dvae encoder.pkl --decoder decoder.pkl --reconstruct --beside --in dir:photos --out dir:seen
 *
 * A picture's codes depend on it and the options alone: it is decoded, cropped to a square, area-resized and encoded,
 * and what goes through the network with it changes nothing. Decoding is ahead of the network (ahead.c), which takes
 * pictures in batches where that is faster (batches.c).
 */
#include "common/err.h"
#include "common/log.h"
#include "common/stage.h"
#include "common/store.h"
#include "encode/batches.h"
#include "models/model_path.h"
#include <dirent.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    KEY_DVAE = 256,
    KEY_DECODER,
    KEY_SIDE,
    KEY_VIEWS,
    KEY_SEED,
    KEY_RECONSTRUCT,
    KEY_BESIDE,
    KEY_KEEP,
    KEY_SKIP,
    KEY_DEVICE
};

#define MAX_CROP_BYTES (256 << 20) /* of one picture; a few pictures wait */

struct encode {
    const char *path, *decoder, *done_in, *device;
    int64_t side, views, seed;
    bool reconstruct, beside, keep_image, skip_done;
    uint64_t done; /* with done_in: records below this id are stored there */
    struct dvae *dvae;
    struct ahead *ahead;
    struct batches *batches;
    struct stage_output *out;
    uint64_t profiles; /* pictures that had one */
    double psnr;       /* sum over the pictures reconstructed, in decibels ... */
    uint64_t pictures; /* ... and how many these are */
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
    case KEY_BESIDE:
        e->beside = true;
        return 0;
    case KEY_SKIP:
        e->skip_done = true;
        e->done_in = arg;
        return 0;
    case KEY_DEVICE:
        e->device = arg;
        return 0;
    case KEY_KEEP:
        e->keep_image = true;
        return 0;
    default:
        e->reconstruct = true;
        return 0;
    }
}

/* Whether there is anything at `path`: the other end of a pipe may just be making its store, in a directory that is
 * empty but for a file that has no name of its own yet. */
static bool begun(const char *path)
{
    DIR *d = opendir(path);
    if (!d)
        return access(path, F_OK) == 0;
    bool found = false;
    for (struct dirent *entry; !found && (entry = readdir(d));)
        found = entry->d_name[0] != '.' && !strstr(entry->d_name, ".tmp");
    closedir(d);
    return found;
}

/* Where the records go that are left out: a store by its path, which the first of many runs has not made yet, or
 * --out's.
 */
static int find_done(struct encode *e, const struct stage_output *out)
{
    static const char scheme[] = "lmdb:";
    bool stored = strncmp(stage_output_uri(out), scheme, strlen(scheme)) == 0;
    if (!e->done_in)
        return stored ? 0 : err_set(ERR_USAGE, "--skip-done: --out is no store; name one: --skip-done=STORE");
    struct store *s;
    const char *path = strncmp(e->done_in, scheme, strlen(scheme)) == 0 ? e->done_in + strlen(scheme) : e->done_in;
    if (!begun(path))
        return 0;
    if (store_open_read(&s, path))
        return err_wrap("--skip-done");
    e->done = store_cursor(s);
    return store_close(&s);
}

/* Peak signal to noise ratio of 8-bit values, in decibels; equal ones count as an error of one in all. */
static double psnr(const uint8_t *a, const uint8_t *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (a[i] - b[i]) * (a[i] - b[i]);
    return 10 * log10(255.0 * 255.0 * (double)n / fmax(sum, 1));
}

/* Replaces the record's picture by what its codes decode to, as a PNG. 0 or -1. */
static int reconstruct(struct encode *e, struct record *r, uint8_t *square, uint8_t *decoded)
{
    int side = dvae_side(e->dvae);
    const struct image original = {side, side, square}, seen = {side, side, decoded};
    struct image shown;
    struct buf png = {0};
    double quality = psnr(square, decoded, (size_t)side * (size_t)side * 3);
    record_set_number(r, FIELD_SCORE, quality);
    e->psnr += quality;
    e->pictures++;
    image_alloc(&shown, e->beside ? 2 * side : side, side);
    image_paste(&shown, &original, 0, 0);
    image_paste(&shown, &seen, e->beside ? side : 0, 0);
    int rc = image_encode_png(&shown, &png);
    if (rc)
        rc = record_blame(r, "image");
    else
        record_set_string(r, FIELD_IMAGE, png.data, png.len);
    buf_free(&png);
    image_free(&shown);
    return rc;
}

/* What the network has done with a record: out it goes. */
static int take(void *self, struct prepared *p, const int32_t *codes, uint8_t *seen)
{
    struct encode *e = self;
    struct record *r = &p->record;
    size_t grid = (size_t)dvae_grid(e->dvae), square = (size_t)dvae_side(e->dvae) * (size_t)dvae_side(e->dvae) * 3;
    if (p->kind == PREPARED_MARK)
        return stage_mark(e->out, p->ticket);
    if (p->kind == PREPARED_PASSED)
        return stage_emit_passed(e->out, r);
    if (p->squares && !dvae_are_codes(codes, (size_t)e->views * grid * grid))
        record_reject(r, "codes: the network's numbers are not finite");
    if (record_has(r, FIELD_REJECT))
        return stage_emit(e->out, r);
    record_set_ints(r, FIELD_CODES, codes, (size_t)e->views * grid * grid);
    record_set_number(r, FIELD_GRID, (double)grid);
    record_set_number(r, FIELD_WIDTH, p->width);
    record_set_number(r, FIELD_HEIGHT, p->height);
    if (p->profile) {
        if (e->profiles++ == 0)
            log_info("record %llu has a colour profile (ICC): profiles are ignored, values taken as sRGB",
                     (unsigned long long)r->id);
        stage_count(e->out, "colour profiles ignored", 1);
    }
    if (e->reconstruct && reconstruct(e, r, p->squares + (size_t)(e->views - 1) * square, seen))
        return -1;
    if (!e->reconstruct && !e->keep_image)
        record_drop(r, FIELD_IMAGE);
    return stage_emit(e->out, r);
}

static int start(void *self, struct stage_output *out)
{
    struct encode *e = self;
    if (!e->path)
        return err_set(ERR_USAGE, "--dvae FILE is needed: a run's directory, a safetensors file, or encoder.pkl");
    /* Of 16 bits fp16 leaves 99.5% of the codes as fp32 finds them, bf16 97%; the released encoder was run in it. */
    const struct kernels *k = kernels_open(e->device, F16);
    char *path = model_path(e->path);
    int rc = k ? dvae_open(&e->dvae, k, path, e->decoder, (int)e->side, 0) : -1;
    free(path);
    if (rc)
        return -1;
    if (e->reconstruct && dvae_config(e->dvae)->init == 0)
        return err_set(ERR_USAGE, "--reconstruct: %s has no decoder; name it with --decoder FILE", e->path);
    int64_t side = dvae_side(e->dvae), bytes = e->views * side * side * 3;
    if (bytes > MAX_CROP_BYTES)
        return err_set(ERR_USAGE, "--views %lld: %lld MB of crops a picture, %d MB at most", (long long)e->views,
                       (long long)bytes >> 20, MAX_CROP_BYTES >> 20);
    if (e->beside && !e->reconstruct)
        return err_set(ERR_USAGE, "--beside is for --reconstruct: add it, or leave --beside out");
    if (e->skip_done && find_done(e, out))
        return -1;
    const struct crops crops = {.views = (int)e->views, .side = dvae_side(e->dvae), .seed = e->seed};
    const struct batches_taker taker = {take, e};
    e->out = out;
    e->ahead = ahead_new(&crops, omp_get_max_threads(), dvae_batch(e->dvae));
    if (!e->ahead)
        return -1;
    e->batches = batches_new(e->dvae, e->ahead, (int)e->views, e->reconstruct, &taker);
    return 0;
}

/* Until there is room for another record. */
static int make_room(struct encode *e)
{
    while (ahead_full(e->ahead))
        if (batches_step(e->batches))
            return -1;
    return 0;
}

static int process(void *self, struct record *r, struct stage_output *out)
{
    struct encode *e = self;
    if (e->skip_done && record_has(r, FIELD_ID) && r->id < (e->done_in ? e->done : stage_done(out))) {
        stage_count(out, "done before", 1);
        return 0;
    }
    ahead_put(e->ahead, r);
    return make_room(e);
}

static int pass(void *self, struct record *r, struct stage_output *out)
{
    struct encode *e = self;
    (void)out;
    ahead_put_passed(e->ahead, r);
    return make_room(e);
}

static int mark(void *self, uint64_t ticket, struct stage_output *out)
{
    struct encode *e = self;
    (void)out;
    ahead_put_mark(e->ahead, ticket);
    return make_room(e);
}

static int flush(void *self, struct stage_output *out)
{
    struct encode *e = self;
    (void)out;
    return batches_flush(e->batches);
}

static void close_encode(void *self)
{
    struct encode *e = self;
    if (e->pictures)
        log_info("reconstructions: mean PSNR %.2f dB over %llu pictures", e->psnr / (double)e->pictures,
                 (unsigned long long)e->pictures);
    batches_free(&e->batches);
    ahead_free(&e->ahead);
    dvae_free(&e->dvae);
}

static const struct argp_option options[] = {
    {"dvae", KEY_DVAE, "FILE", 0, "The dVAE: a run's directory, safetensors, or OpenAI's encoder.pkl", 0},
    {"decoder", KEY_DECODER, "FILE", 0, "OpenAI's decoder.pkl, for --reconstruct", 0},
    {"side", KEY_SIDE, "PIXELS", 0, "Side of the pictures it sees (default: what it was trained at)", 0},
    {"views", KEY_VIEWS, "K", 0, "Codes of K random crops (default 1: the centred square)", 0},
    {"seed", KEY_SEED, "N", 0, "Seed of the crops (default 0)", 0},
    {"reconstruct", KEY_RECONSTRUCT, NULL, 0,
     "Replace each picture by what its codes decode to (PNG); score becomes its PSNR", 0},
    {"beside", KEY_BESIDE, NULL, 0, "With --reconstruct: the picture that the dVAE saw at its left", 0},
    {"skip-done", KEY_SKIP, "STORE", OPTION_ARG_OPTIONAL,
     "Leave out the records that STORE has, or the store in --out (restarts cost nothing)", 0},
    {"device", KEY_DEVICE, "NAME", 0, "Where to compute: cpu (default), cuda, cuda:N, or auto", 0},
    {"keep-image", KEY_KEEP, NULL, 0, "Keep the picture beside its codes", 0},
    {0},
};

int main(int argc, char **argv)
{
    static const struct stage stage = {
        .name = "encode",
        .doc = "Turns pictures into dVAE codes.\vPictures are JPEG, PNG or WebP. A camera's orientation is applied, "
               "colour profiles (ICC) are ignored; animations and more than 8 bits a channel are rejects.",
        .options = options,
        .option = set_option,
        .start = start,
        .process = process,
        .pass = pass,
        .mark = mark,
        .flush = flush,
        .close = close_encode,
    };
    struct encode e = {.device = "cpu", .views = 1};
    return stage_main(&stage, &e, argc, argv);
}
