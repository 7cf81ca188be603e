/*
 * atelier-sampler: draws candidates for captions.
 *
 *   echo 'an armchair in the shape of an avocado' | atelier-sampler --in text:- -n 512 --model runs/prior --out dir:out
 *
 * A candidate is a function of the model, the caption, the seed and its number alone: other captions, the number of
 * candidates and of threads change nothing. (On a device the order of sums goes by --batch, whose default goes by the
 * number of candidates.) Candidate c of record i has id i * n + c; of a rejected record there are as
 * many rejects, so that all ids are there.
 */
#include "common/err.h"
#include "common/image.h"
#include "common/random.h"
#include "common/stage.h"
#include "models/bpe.h"
#include "models/dvae.h"
#include "models/model_path.h"
#include "models/prior.h"
#include <stdlib.h>
#include <string.h>

#define PRIME_LIMIT (256u << 20) /* bytes of the picture given to --prime */

enum { CPU_BATCH = 16, DEVICE_BATCH = 512 /* the most by default: then caches are read as long as weights */ };

enum {
    KEY_MODEL = 256,
    KEY_VOCAB,
    KEY_DVAE,
    KEY_BATCH,
    KEY_TEMPERATURE,
    KEY_TOP_K,
    KEY_TOP_P,
    KEY_GUIDANCE,
    KEY_SEED,
    KEY_PRIME,
    KEY_PRIME_ROWS,
    KEY_DEVICE
};

struct sampler {
    const char *model, *vocab, *dvae_path, *prime, *device;
    int64_t n, batch, top_k, seed, prime_rows;
    double temperature, top_p, guidance;
    struct prior *prior;
    struct prior_sampler *caches;
    struct dvae *dvae;
    struct bpe *bpe;
    struct bpe_worker *worker;
    struct ints ids;
    int32_t *text, *codes, *primed; /* [T], [n, G * G], [G * G] */
    uint8_t *pictures;              /* [dvae_batch, side, side, 3] */
    struct buf *files;              /* [dvae_batch]: the same as PNG */
};

static int set_option(void *self, int key, const char *arg)
{
    struct sampler *s = self;
    switch (key) {
    case 'n':
        return option_int("candidates", arg, 1, 1 << 20, &s->n);
    case KEY_DEVICE:
        s->device = arg;
        return 0;
    case KEY_MODEL:
        s->model = arg;
        return 0;
    case KEY_VOCAB:
        s->vocab = arg;
        return 0;
    case KEY_DVAE:
        s->dvae_path = arg;
        return 0;
    case KEY_PRIME:
        s->prime = arg;
        return 0;
    case KEY_PRIME_ROWS:
        return option_int("prime-rows", arg, 0, 4096, &s->prime_rows);
    case KEY_BATCH:
        return option_int("batch", arg, 1, 4096, &s->batch);
    case KEY_TEMPERATURE:
        return option_double("temperature", arg, 0, 100, &s->temperature);
    case KEY_TOP_K:
        return option_int("top-k", arg, 0, INT32_MAX, &s->top_k);
    case KEY_TOP_P:
        return option_double("top-p", arg, 1e-6, 1, &s->top_p);
    case KEY_GUIDANCE:
        return option_double("guidance", arg, 0, 100, &s->guidance);
    default:
        return option_int("seed", arg, 0, INT64_MAX, &s->seed);
    }
}

static int open_models(struct sampler *s, const struct kernels *k)
{
    char *prior = model_path(s->model);
    char *vocab = s->vocab ? xstrdup(s->vocab) : model_companion(s->model, "vocab.json");
    char *dvae = s->dvae_path ? model_path(s->dvae_path) : model_companion(s->model, "dvae.safetensors");
    /* Of 16 bits fp16 is nearer to what the decoder draws in fp32, and bf16 holds whatever a prior was trained to. */
    const struct kernels *fine = kernels_open(s->device, F16);
    int rc = !fine || prior_open(&s->prior, k, prior, 1) || bpe_open(&s->bpe, vocab) ||
             dvae_open(&s->dvae, fine, dvae, NULL, 0, 0);
    const struct prior_config *c = rc ? NULL : prior_config(s->prior);
    if (c && c->text_vocab != bpe_vocab(s->bpe))
        rc = err_set(ERR_DATA, "%s has %d tokens, %s was trained with %d", vocab, bpe_vocab(s->bpe), prior,
                     c->text_vocab);
    else if (c && (c->grid != dvae_grid(s->dvae) || c->image_vocab != dvae_config(s->dvae)->vocab))
        rc = err_set(ERR_DATA, "%s makes %dx%d of %d codes, %s was trained on %dx%d of %d", dvae, dvae_grid(s->dvae),
                     dvae_grid(s->dvae), dvae_config(s->dvae)->vocab, prior, c->grid, c->grid, c->image_vocab);
    free(prior);
    free(vocab);
    free(dvae);
    return rc ? -1 : 0;
}

static int open_prime(struct sampler *s)
{
    struct buf file = {0};
    struct image im = {0}, square = {0};
    int grid = dvae_grid(s->dvae);
    if (s->prime_rows > grid)
        return err_set(ERR_USAGE, "--prime-rows %lld: the grid has %d rows", (long long)s->prime_rows, grid);
    int rc = file_read(s->prime, PRIME_LIMIT, &file) || image_decode(&im, file.data, file.len, 0, 1);
    if (rc) {
        err_wrap("--prime %s", s->prime);
    } else {
        image_center_square(&im, dvae_side(s->dvae), &square);
        s->primed = xmalloc((size_t)(grid * grid) * sizeof *s->primed);
        dvae_encode(s->dvae, square.rgb, 1, s->primed);
        if (!dvae_are_codes(s->primed, (size_t)(grid * grid)))
            rc = err_set(ERR_DATA, "--prime %s: the dVAE's numbers for it are not finite", s->prime);
    }
    buf_free(&file);
    image_free(&im);
    image_free(&square);
    return rc ? -1 : 0;
}

static size_t picture_bytes(const struct sampler *s)
{
    return (size_t)dvae_side(s->dvae) * (size_t)dvae_side(s->dvae) * 3;
}

/* Memory for as many candidates together as was asked for; by default in equal rounds, on a device as few as there is
 * memory for. */
static int open_caches(struct sampler *s, const struct kernels *k)
{
    if (s->batch)
        return prior_sampler_new(&s->caches, s->prior, (int)s->batch) ? err_wrap("--batch %d", (int)s->batch) : 0;
    if (!k->batches)
        return prior_sampler_new(&s->caches, s->prior, CPU_BATCH);
    for (int64_t most = DEVICE_BATCH; most > 0; most /= 2) {
        int64_t rounds = (s->n + most - 1) / most;
        if (prior_sampler_new(&s->caches, s->prior, (int)((s->n + rounds - 1) / rounds)) == 0)
            return 0;
    }
    return -1;
}

static int start(void *self, struct stage_output *out)
{
    struct sampler *s = self;
    (void)out;
    if (!s->model)
        return err_set(ERR_USAGE, "--model DIR is needed: a run of the prior");
    if (s->prime_rows >= 0 && !s->prime)
        return err_set(ERR_USAGE, "--prime-rows %lld needs --prime FILE, the picture that they are of",
                       (long long)s->prime_rows);
    const struct kernels *k = kernels_open(s->device, BF16);
    if (!k || open_models(s, k) || open_caches(s, k))
        return -1;
    const struct prior_config *c = prior_config(s->prior);
    s->worker = bpe_worker_new(s->bpe);
    s->text = xmalloc((size_t)c->text_len * sizeof *s->text);
    s->codes = xmalloc((size_t)s->n * (size_t)(c->grid * c->grid) * sizeof *s->codes);
    s->pictures = xmalloc((size_t)dvae_batch(s->dvae) * picture_bytes(s));
    s->files = xcalloc((size_t)dvae_batch(s->dvae), sizeof *s->files);
    if (s->prime_rows < 0)
        s->prime_rows = c->grid / 2;
    return s->prime ? open_prime(s) : 0;
}

/* FNV-1a: the caption's part in the seed, so that its pictures are the same wherever it stands in the input. */
static uint64_t hash(const struct buf *text)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < text->len; i++)
        h = (h ^ text->data[i]) * 0x100000001b3u;
    return h;
}

static int emit_candidate(struct sampler *s, struct record *r, uint64_t id, int64_t c, const struct buf *file,
                          struct stage_output *out)
{
    size_t codes = (size_t)dvae_grid(s->dvae) * (size_t)dvae_grid(s->dvae);
    record_set_u64(r, FIELD_ID, id * (uint64_t)s->n + (uint64_t)c);
    record_set_number(r, FIELD_CANDIDATE, (double)c);
    record_set_u64(r, FIELD_SEED, (uint64_t)s->seed);
    record_set_string(r, FIELD_IMAGE, file->data, file->len);
    record_set_number(r, FIELD_WIDTH, dvae_side(s->dvae));
    record_set_number(r, FIELD_HEIGHT, dvae_side(s->dvae));
    record_set_ints(r, FIELD_CODES, s->codes + (size_t)c * codes, codes);
    record_set_number(r, FIELD_GRID, dvae_grid(s->dvae));
    return stage_emit(out, r);
}

/* The pictures of `count` candidates from the first on, as many as the dVAE takes at once, as PNG files. */
static int draw_files(struct sampler *s, int64_t first, int count)
{
    size_t codes = (size_t)dvae_grid(s->dvae) * (size_t)dvae_grid(s->dvae);
    int failed = 0, side = dvae_side(s->dvae);
    dvae_decode(s->dvae, s->codes + (size_t)first * codes, count, s->pictures);
#pragma omp parallel for schedule(dynamic) reduction(+ : failed)
    for (int i = 0; i < count; i++) {
        const struct image im = {side, side, s->pictures + (size_t)i * picture_bytes(s)};
        s->files[i].len = 0;
        failed += image_encode_png(&im, &s->files[i]) != 0;
    }
    return failed ? err_set(ERR_AGAIN, "%d pictures could not be made PNG files", failed) : 0;
}

static int process(void *self, struct record *r, struct stage_output *out)
{
    struct sampler *s = self;
    const struct prior_config *c = prior_config(s->prior);
    uint64_t id = r->id;
    s->ids.len = 0;
    bpe_encode(s->worker, (const char *)r->caption.data, r->caption.len, &s->ids);
    if (s->ids.len > (size_t)c->text_len)
        stage_count(out, "cut", 1);
    for (size_t i = 0; i < (size_t)c->text_len; i++)
        s->text[i] = i < s->ids.len ? s->ids.data[i] : -1;
    struct prior_draw d = {
        .draw = {(float)s->temperature, (int)s->top_k, (float)s->top_p},
        .guidance = (float)s->guidance,
        .seed = (uint64_t)s->seed ^ hash(&r->caption),
        .primed = s->primed,
        .primed_count = s->primed ? (int)s->prime_rows * c->grid : 0,
    };
    if (prior_sample(s->caches, s->text, (int)s->n, &d, s->codes, NULL, stage_tick))
        return -1;
    for (int64_t i = 0, batch = dvae_batch(s->dvae); i < s->n; i += batch) {
        int count = (int)(s->n - i < batch ? s->n - i : batch);
        if (draw_files(s, i, count))
            return -1;
        for (int j = 0; j < count; j++)
            if (emit_candidate(s, r, id, i + j, &s->files[j], out))
                return -1;
    }
    return 0;
}

static int pass(void *self, struct record *r, struct stage_output *out)
{
    const struct sampler *s = self;
    uint64_t first = r->id * (uint64_t)s->n;
    for (int64_t c = 0; c < s->n; c++) {
        record_set_u64(r, FIELD_ID, first + (uint64_t)c);
        if (stage_emit_passed(out, r))
            return -1;
    }
    return 0;
}

static void close_sampler(void *self)
{
    struct sampler *s = self;
    prior_sampler_free(&s->caches);
    prior_free(&s->prior);
    for (int i = 0; s->files && i < dvae_batch(s->dvae); i++)
        buf_free(&s->files[i]);
    free(s->files);
    free(s->pictures);
    dvae_free(&s->dvae);
    bpe_worker_free(&s->worker);
    bpe_free(&s->bpe);
    free(s->ids.data);
    free(s->text);
    free(s->codes);
    free(s->primed);
}

static const struct argp_option options[] = {
    {"model", KEY_MODEL, "DIR", 0, "The prior: a run's directory, or a safetensors file", 0},
    {"vocab", KEY_VOCAB, "FILE", 0, "Its vocabulary (default: vocab.json beside the model)", 0},
    {"dvae", KEY_DVAE, "FILE", 0, "Its dVAE (default: dvae.safetensors beside the model)", 0},
    {"candidates", 'n', "N", 0, "Candidates a caption (default 16)", 0},
    {"batch", KEY_BATCH, "N", 0,
     "Candidates computed together (default 16; on a GPU as many as memory allows, up to 512)", 0},
    {"device", KEY_DEVICE, "NAME", 0, "Where to compute: cpu (default), cuda, cuda:N, or auto", 0},
    {"temperature", KEY_TEMPERATURE, "X", 0, "Default 1; 0 takes the most probable code each time", 0},
    {"top-k", KEY_TOP_K, "K", 0, "Draw from the K most probable codes (default 0: all)", 0},
    {"top-p", KEY_TOP_P, "P", 0, "Draw from the most probable codes that hold this share (default 1)", 0},
    {"guidance", KEY_GUIDANCE, "X", 0,
     "Classifier-free guidance (default 1: none); the prior must know empty captions (trainer --caption-dropout)", 0},
    {"seed", KEY_SEED, "N", 0, "The same seed draws the same pictures (default 0)", 0},
    {"prime", KEY_PRIME, "FILE", 0, "A picture whose first rows are given", 0},
    {"prime-rows", KEY_PRIME_ROWS, "R", 0, "How many rows of codes of it (default half)", 0},
    {0},
};

int main(int argc, char **argv)
{
    static const struct stage stage = {
        .name = "sampler",
        .doc = "Draws pictures for captions.",
        .options = options,
        .option = set_option,
        .start = start,
        .process = process,
        .pass = pass,
        .close = close_sampler,
    };
    struct sampler s = {.device = "cpu", .n = 16, .temperature = 1, .top_p = 1, .guidance = 1, .prime_rows = -1};
    return stage_main(&stage, &s, argc, argv);
}
