/*
 * Sampling with caches: the same logits as without, golden continuations, codes that depend on the seed and the
 * candidate's number alone, priming, guidance.
 */
#include "tests/unit/models/test_prior.h"

#include <unistd.h>

enum { BATCH = 3 };

static const struct prior_draw plain_draw = {.draw = {.temperature = 1, .top_p = 1}, .guidance = 1, .seed = 11};

struct sampling {
    struct prior *p;
    struct prior_sampler *sampler;
    struct pair s;
    size_t positions, logits; /* of one picture */
};

static struct sampling begin(const struct kernels *k)
{
    struct sampling t = {.p = random_prior(k, &small, 1, PRIOR_INFER), .s = random_pairs(&small, 1, 9)};
    assert_int_equal(prior_sampler_new(&t.sampler, t.p, BATCH), 0);
    t.positions = (size_t)small.grid * (size_t)small.grid;
    t.logits = t.positions * (size_t)small.image_vocab;
    return t;
}

static void end(struct sampling *t)
{
    free_pairs(&t->s);
    prior_sampler_free(&t->sampler);
    prior_free(&t->p);
}

/* n pictures; `logits` may be NULL. The caller frees them. */
static int32_t *sample(struct sampling *t, int n, const struct prior_draw *d, float *logits)
{
    int32_t *codes = xmalloc((size_t)n * t->positions * sizeof *codes);
    assert_int_equal(prior_sample(t->sampler, t->s.text, n, d, codes, logits, NULL), 0);
    return codes;
}

static float *uncached(const struct sampling *t, const int32_t *text, const int32_t *codes)
{
    float *logits = xmalloc(t->logits * sizeof *logits);
    struct prior_losses l;
    prior_eval(t->p, text, codes, 1, &l, NULL, logits);
    return logits;
}

static void same_logits(const struct kernels *k)
{
    enum { N = BATCH + 2 };
    struct sampling t = begin(k);
    float *cached = xmalloc(N * t.logits * sizeof *cached);
    int32_t *codes = sample(&t, N, &plain_draw, cached);
    for (size_t i = 0; i < N; i++) {
        float *want = uncached(&t, t.s.text, codes + i * t.positions);
        check_close("cached logits", cached + i * t.logits, want, t.logits, 1e-5);
        free(want);
    }
    free(codes);
    free(cached);
    end(&t);
}

static void guided(const struct kernels *k)
{
    static const int32_t empty[] = {-1, -1, -1};
    struct sampling t = begin(k);
    struct prior_draw d = plain_draw;
    d.guidance = 2.5f;
    float *cached = xmalloc(t.logits * sizeof *cached);
    int32_t *codes = sample(&t, 1, &d, cached);
    float *with = uncached(&t, t.s.text, codes), *without = uncached(&t, empty, codes);
    for (size_t i = 0; i < t.logits; i++)
        with[i] = without[i] + d.guidance * (with[i] - without[i]);
    check_close("guided logits", cached, with, t.logits, 1e-5);

    /* Guidance of one is none, also after there was some. */
    int32_t *before = sample(&t, BATCH, &plain_draw, NULL);
    d.guidance = 1;
    int32_t *after = sample(&t, BATCH, &d, NULL);
    assert_memory_equal(after, before, BATCH * t.positions * sizeof *after);
    free(after);
    free(before);
    free(without);
    free(with);
    free(codes);
    free(cached);
    end(&t);
}

/* However a run of candidates is cut into calls, each is the same; another seed gives others. */
static void seeds(const struct kernels *k)
{
    enum { N = 2 * BATCH + 1 };
    struct sampling t = begin(k);
    struct prior_draw d = plain_draw;
    int32_t *all = sample(&t, N, &d, NULL);
    for (int first = 0; first < N; first++) {
        for (int n = 1; first + n <= N; n++) {
            d.first = (uint64_t)first;
            int32_t *some = sample(&t, n, &d, NULL);
            assert_memory_equal(some, all + (size_t)first * t.positions, (size_t)n * t.positions * sizeof *some);
            free(some);
        }
    }
    for (size_t i = 0; i < N; i++) {
        for (size_t j = 0; j < i; j++)
            assert_memory_not_equal(all + i * t.positions, all + j * t.positions, t.positions * sizeof *all);
    }
    d = plain_draw;
    d.seed++;
    int32_t *other = sample(&t, N, &d, NULL);
    assert_memory_not_equal(other, all, N * t.positions * sizeof *all);
    free(other);
    free(all);
    end(&t);
}

/* Each code is what the named uniform picks from its logits. */
static void draws(const struct kernels *k)
{
    enum { N = BATCH + 1 };
    struct sampling t = begin(k);
    struct prior_draw d = plain_draw;
    d.first = 5;
    size_t V = (size_t)small.image_vocab;
    float *logits = xmalloc(N * t.logits * sizeof *logits);
    int32_t *codes = sample(&t, N, &d, logits);
    for (size_t i = 0; i < N * t.positions; i++) {
        double sum = 0, below = 0;
        for (size_t j = 0; j < V; j++) {
            sum += exp((double)logits[i * V + j]);
            below += (int32_t)j < codes[i] ? exp((double)logits[i * V + j]) : 0;
        }
        double upto = below + exp((double)logits[i * V + (size_t)codes[i]]);
        double u = (double)random_uniform(random_key(d.seed, RANDOM_SAMPLE), 5 + i / t.positions, i % t.positions);
        assert_true(below / sum <= u + 1e-5 && u <= upto / sum + 1e-5);
    }
    free(codes);
    free(logits);
    end(&t);
}

/* A picture that is primed with its own beginning goes on as it did, from any place. */
static void primed(const struct kernels *k)
{
    struct sampling t = begin(k);
    int32_t *whole = sample(&t, 1, &plain_draw, NULL);
    for (int given = 0; given <= (int)t.positions; given++) {
        struct prior_draw d = plain_draw;
        d.primed = whole;
        d.primed_count = given;
        int32_t *again = sample(&t, 1, &d, NULL);
        assert_memory_equal(again, whole, t.positions * sizeof *again);
        free(again);
    }
    /* And another beginning is kept as it was given. */
    int32_t start[] = {5, 4, 3, 2, 1, 0};
    struct prior_draw d = plain_draw;
    d.primed = start;
    d.primed_count = 6;
    int32_t *other = sample(&t, 2, &d, NULL);
    assert_memory_equal(other, start, sizeof start);
    assert_memory_equal(other + t.positions, start, sizeof start);
    free(other);
    free(whole);
    end(&t);
}

static void greedy(const struct kernels *k)
{
    if (access(VECTORS "prior_greedy.safetensors", R_OK) != 0)
        skip();
    struct weights *w = vectors_open("prior_greedy.safetensors");
    struct prior *p;
    struct prior_sampler *sampler;
    assert_int_equal(prior_open_weights(&p, k, w, "w.", 1, PRIOR_INFER), 0);
    assert_int_equal(prior_sampler_new(&sampler, p, 2), 0);
    size_t positions = (size_t)weights_find(w, "in.image")->shape[1], T = (size_t)prior_config(p)->text_len;
    struct pair s = {vector_ints(w, "in.text"), vector_ints(w, "in.image")};
    int32_t *want = vector_ints(w, "out.primed"), *got = xmalloc(positions * sizeof *got);
    for (size_t i = 0; i < (size_t)weights_find(w, "in.text")->shape[0]; i++) {
        struct prior_draw d = {.draw = {.top_p = 1},
                               .guidance = 1,
                               .primed = s.image + i * positions,
                               .primed_count = atoi(weights_meta(w, "primed_tokens"))};
        assert_int_equal(prior_sample(sampler, s.text + i * T, 1, &d, got, NULL, NULL), 0);
        assert_memory_equal(got, want + i * positions, positions * sizeof *got);
    }
    free(got);
    free(want);
    free_pairs(&s);
    prior_sampler_free(&sampler);
    prior_free(&p);
    weights_free(&w);
}

static int asked;

static bool stop_at_third(void)
{
    return ++asked == 3;
}

static void test_refusals(void **state)
{
    (void)state;
    struct sampling t = begin(kernels_cpu());
    int32_t codes[16], wrong[] = {0, small.image_vocab};
    struct prior_draw d = plain_draw;
    assert_int_equal(prior_sample(t.sampler, t.s.text, 1, &d, codes, NULL, stop_at_third), -1);
    assert_int_equal(asked, 3);
    d.primed = wrong;
    d.primed_count = 2;
    assert_int_equal(prior_sample(t.sampler, t.s.text, 1, &d, codes, NULL, NULL), -1);
    assert_non_null(strstr(err_text(), "given code 1 is 6"));
    d.primed_count = 17;
    assert_int_equal(prior_sample(t.sampler, t.s.text, 1, &d, codes, NULL, NULL), -1);
    d.primed_count = 0;
    t.s.text[2] = small.text_vocab;
    assert_int_equal(prior_sample(t.sampler, t.s.text, 1, &d, codes, NULL, NULL), -1);
    assert_non_null(strstr(err_text(), "token 2 of the caption is 7"));
    end(&t);
}

EACH_TABLE(same_logits)
EACH_TABLE(guided)
EACH_TABLE(seeds)
EACH_TABLE(draws)
EACH_TABLE(primed)
EACH_TABLE(greedy)

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT_EACH_TABLE(same_logits), UNIT_EACH_TABLE(guided), UNIT_EACH_TABLE(seeds),          UNIT_EACH_TABLE(draws),
        UNIT_EACH_TABLE(primed),      UNIT_EACH_TABLE(greedy), cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
