/*
 * Reading ahead: the same parts as a plain loop's, whatever the threads' timing; errors when their turn comes; the end.
 */
#include "tests/unit/common/scratch.h"

#include "common/err.h"
#include "common/store.h"
#include "trainer/loader.h"
#include <stdatomic.h>
#include <time.h>

#define RECORDS 37
#define SEED 3
#define START 11
#define NEVER UINT64_MAX

enum { SAMPLE, CAPTION };
enum { CAPTION_BYTES = 3, PARTS = 7, MOST_OWN = 13 };

/* What the rows are made with: some take longer than others. */
struct maker {
    uint64_t bad; /* samples from this one on fail, the first of them last */
    atomic_int made;
};

static void take_time(unsigned long long n)
{
    const struct timespec nap = {0, (long)(n * 2654435761u % 5 * 50000)};
    nanosleep(&nap, NULL);
}

static int make_row(const void *self, struct loader_worker *with, uint64_t sample, void *const *row)
{
    struct maker *m = (struct maker *)self;
    const struct buf *caption = &with->record.caption;
    take_time(sample);
    if (sample >= m->bad) {
        for (int i = 0; i < 20 && sample == m->bad; i++)
            take_time(2);
        return err_set(ERR_DATA, "sample %llu is bad", (unsigned long long)sample);
    }
    *(uint64_t *)row[SAMPLE] = sample;
    memcpy(row[CAPTION], caption->data + caption->len - CAPTION_BYTES, CAPTION_BYTES);
    m->made++;
    return 0;
}

/* Two of three are kept, or none. */
static char *make_store(const char *name, bool none)
{
    struct store *s;
    char *path = xasprintf("%s/%s", scratch, name), *uri = xasprintf("lmdb:%s", path);
    assert_int_equal(store_open_write(&s, path, NULL), 0);
    for (uint64_t id = 0; id < RECORDS; id++) {
        struct record r = {0};
        char caption[16];
        int len = snprintf(caption, sizeof caption, "shoe %03llu", (unsigned long long)id);
        record_set_u64(&r, FIELD_ID, id);
        record_set_string(&r, FIELD_CAPTION, caption, (size_t)len);
        if (none || id % 3 == 1)
            record_reject(&r, "language: fr");
        assert_int_equal(store_put(s, &r), 0);
        record_free(&r);
    }
    assert_int_equal(store_close(&s), 0);
    free(path);
    return uri;
}

static struct dataset *open_data(const char *uri)
{
    struct dataset *d;
    assert_int_equal(dataset_open(&d, uri, 1 << 20), 0);
    return d;
}

static struct loader_settings settings_of(struct dataset *d, const struct maker *m, struct part part, int threads,
                                          int buffers)
{
    return (struct loader_settings){.data = d,
                                    .seed = SEED,
                                    .position = START,
                                    .part = part,
                                    .threads = threads,
                                    .buffers = buffers,
                                    .bytes = {[SAMPLE] = sizeof(uint64_t), [CAPTION] = CAPTION_BYTES},
                                    .prepare = make_row,
                                    .self = m};
}

/* What the first parts hold, and where they end. */
struct plain {
    uint64_t sample[PARTS][MOST_OWN], end[PARTS];
    char caption[PARTS][MOST_OWN][CAPTION_BYTES];
};

static void read_plainly(struct plain *p, struct dataset *d, const struct part *part)
{
    struct record r = {0};
    uint64_t position = START;
    for (int n = 0; n < PARTS; n++) {
        assert_int_equal(dataset_skip(d, SEED, &position, part->before), 0);
        for (int i = 0; i < part->own; i++) {
            assert_int_equal(dataset_next(d, SEED, &position, &p->sample[n][i], &r), 0);
            memcpy(p->caption[n][i], r.caption.data + r.caption.len - CAPTION_BYTES, CAPTION_BYTES);
        }
        assert_int_equal(dataset_skip(d, SEED, &position, part->behind), 0);
        p->end[n] = position;
    }
    record_free(&r);
}

static void check_parts(const char *uri, struct part part, int threads, int buffers)
{
    static struct plain plain;
    struct maker m = {.bad = NEVER};
    struct dataset *d = open_data(uri);
    struct loader_settings s = settings_of(d, &m, part, threads, buffers);
    struct loader *l;
    uint64_t position = START;
    read_plainly(&plain, d, &part);
    assert_int_equal(loader_open(&l, &s), 0);
    for (int n = 0; n < PARTS; n++) {
        void *const *columns = loader_next(l, &position);
        assert_non_null(columns);
        assert_int_equal(position, plain.end[n]);
        take_time((unsigned)n);
        assert_in_range(m.made, (n + 1) * part.own, (n + buffers) * part.own);
        assert_memory_equal(columns[SAMPLE], plain.sample[n], (size_t)part.own * sizeof(uint64_t));
        assert_memory_equal(columns[CAPTION], plain.caption[n], (size_t)part.own * CAPTION_BYTES);
    }
    loader_close(&l);
    assert_null(l);
    dataset_close(&d);
}

static void parts_are_those_of_a_plain_loop(void **state)
{
    (void)state;
    static const struct part SHAPES[] = {{0, 0, 1, 1}, {0, 0, 8, 1}, {5, 3, 3, 1}, {0, 2, MOST_OWN, 1}, {40, 0, 2, 1}};
    char *uri = make_store("store", false);
    for (size_t i = 0; i < sizeof SHAPES / sizeof *SHAPES; i++)
        for (int threads = 1; threads <= 4; threads += 3)
            for (int buffers = 1; buffers <= 3; buffers++)
                check_parts(uri, SHAPES[i], threads, buffers);
    free(uri);
    const char *lines = scratch_path("lines");
    scratch_write(lines, "one\ntwo\nthree\n", 14);
    uri = xasprintf("text:%s", lines);
    check_parts(uri, SHAPES[2], 4, 2);
    free(uri);
}

static void the_first_bad_sample_is_told_when_its_turn_comes(void **state)
{
    (void)state;
    const char *lines = scratch_path("many");
    scratch_write(lines, "a shoe\na boot\n", 14);
    char *uri = xasprintf("text:%s", lines), text[64];
    for (uint64_t bad = 0; bad < 16; bad++) {
        struct maker m = {.bad = START + bad};
        struct dataset *d = open_data(uri);
        struct loader_settings s = settings_of(d, &m, (struct part){.own = 5}, 4, 2);
        struct loader *l;
        uint64_t position = START;
        assert_int_equal(loader_open(&l, &s), 0);
        for (uint64_t part = 0; part < bad / 5; part++)
            assert_non_null(loader_next(l, &position));
        err_set(ERR_BUG, "the error of another thread");
        assert_null(loader_next(l, &position));
        snprintf(text, sizeof text, "sample %llu is bad", (unsigned long long)(START + bad));
        assert_string_equal(err_text(), text);
        assert_int_equal(err_code(), ERR_DATA);
        assert_int_equal(position, START + bad / 5 * 5);
        loader_close(&l);
        dataset_close(&d);
    }
    free(uri);
}

static void what_cannot_be_read_is_told(void **state)
{
    (void)state;
    struct maker m = {.bad = NEVER};
    char *uri = make_store("none", true);
    struct dataset *d = open_data(uri);
    struct loader_settings s = settings_of(d, &m, (struct part){.own = 4}, 2, 2);
    struct loader *l;
    uint64_t position = START;
    assert_int_equal(loader_open(&l, &s), 0);
    assert_null(loader_next(l, &position));
    assert_non_null(strstr(err_text(), "no kept record"));
    loader_close(&l);
    dataset_close(&d);
    free(uri);
}

/* LMDB follows what its pages say out of its file; the thread's fault is caught and told. Comes first: cmocka catches
 * faults from each test's start on, the store from its first reading. */
static void a_damaged_store_ends_no_thread(void **state)
{
    (void)state;
    enum { HEAD = 2 * 4096 };
    struct maker m = {.bad = NEVER};
    struct loader *l;
    struct stat st;
    uint64_t position = START;
    char *uri = make_store("damaged", false), *shard = xasprintf("%s/damaged/000000.mdb", scratch);
    struct dataset *d = open_data(uri);
    struct loader_settings s = settings_of(d, &m, (struct part){.own = 4}, 2, 2);
    int fd = open(shard, O_WRONLY);
    assert_int_equal(fstat(fd, &st), 0);
    assert_true(st.st_size > HEAD);
    unsigned char *damage = xmalloc((size_t)st.st_size);
    memset(damage, 0xA5, (size_t)st.st_size);
    assert_true(pwrite(fd, damage, (size_t)st.st_size - HEAD, HEAD) > 0);
    close(fd);
    assert_int_equal(loader_open(&l, &s), 0);
    assert_null(loader_next(l, &position));
    assert_non_null(strstr(err_text(), "000000.mdb"));
    assert_int_equal(err_code(), ERR_DATA);
    loader_close(&l);
    dataset_close(&d);
    free(damage);
    free(shard);
    free(uri);
}

static void closing_waits_for_nothing_more(void **state)
{
    (void)state;
    char *uri = make_store("closed", false);
    for (int given = 0; given < 3; given++)
        for (int wait = 0; wait < 2; wait++) {
            struct maker m = {.bad = NEVER};
            struct dataset *d = open_data(uri);
            struct loader_settings s = settings_of(d, &m, (struct part){.own = 6}, 3, 2);
            struct loader *l;
            uint64_t position = START;
            assert_int_equal(loader_open(&l, &s), 0);
            for (int i = 0; i < given; i++)
                assert_non_null(loader_next(l, &position));
            for (int i = 0; wait && m.made < (given ? given + 1 : 2) * 6 && i < 10000; i++)
                take_time(2);
            loader_close(&l);
            dataset_close(&d);
        }
    free(uri);
}

int main(void)
{
    static const struct CMUnitTest TESTS[] = {
        cmocka_unit_test(a_damaged_store_ends_no_thread),
        cmocka_unit_test(parts_are_those_of_a_plain_loop),
        cmocka_unit_test(the_first_bad_sample_is_told_when_its_turn_comes),
        cmocka_unit_test(what_cannot_be_read_is_told),
        cmocka_unit_test(closing_waits_for_nothing_more),
    };
    return cmocka_run_group_tests(TESTS, scratch_make, scratch_remove);
}
