/*
 * Records: packing and JSON give back what they got, unknown fields pass, and nothing malformed gets through or does
 * harm.
 */
#include "scratch.h"

#include "common/err.h"
#include "common/random.h"
#include "common/record.h"
#include <limits.h>
#include <msgpack.h>

/* A record whose fields, sizes and bytes are drawn by `seed`; texts are ASCII. */
static void draw(struct record *r, uint64_t seed)
{
    struct random4 x = random_philox(seed, 1, 0), y = random_philox(seed, 2, 0);
    unsigned char bytes[400];
    int32_t ints[40];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(' ' + random_philox(seed, 3, i).v[0] % 95);
    for (size_t i = 0; i < 40; i++)
        ints[i] = (int32_t)random_philox(seed, 4, i).v[0] >> random_philox(seed, 5, i).v[0] % 32;
    record_clear(r);
    for (int f = 0; f < FIELD_COUNT; f++) {
        if (!(x.v[0] >> f & 1))
            continue;
        switch (record_fields[f].type) {
        case TYPE_U64:
            record_set_u64(r, f, ((uint64_t)y.v[0] << 32 | y.v[1]) >> y.v[2] % 64);
            break;
        case TYPE_U32:
            record_set_number(r, f, y.v[3] >> y.v[2] % 32);
            break;
        case TYPE_F64:
            record_set_number(r, f, random_unit(y.v[1]) - 0.3);
            break;
        case TYPE_STRING:
        case TYPE_BYTES:
            record_set_string(r, f, bytes + f, y.v[2] % 300);
            break;
        case TYPE_INTS:
            record_set_ints(r, f, ints, y.v[2] % 40);
            break;
        }
    }
}

static void assert_same(const struct record *a, const struct record *b)
{
    struct buf pa = {0}, pb = {0};
    record_pack(a, &pa);
    record_pack(b, &pb);
    assert_int_equal(pa.len, pb.len);
    assert_memory_equal(pa.data, pb.data, pa.len);
    buf_free(&pa);
    buf_free(&pb);
}

static void test_round_trips(void **state)
{
    (void)state;
    struct record a = {0}, b = {0}, c = {0};
    struct buf packed = {0}, json = {0};
    for (uint64_t seed = 0; seed < 500; seed++) {
        draw(&a, seed);
        packed.len = json.len = 0;
        record_pack(&a, &packed);
        assert_int_equal(record_unpack(&b, packed.data, packed.len), 0);
        assert_int_equal(a.present, b.present);
        assert_same(&a, &b);
        record_copy(&c, &b);
        assert_same(&a, &c);
        if (record_has(&a, FIELD_REJECT)) /* a tombstone from JSON has no payload */
            record_reject(&a, "%.*s", (int)b.reject.len, (const char *)b.reject.data);
        record_to_json(&a, &json);
        assert_int_equal(record_from_json(&b, (const char *)json.data, json.len), 0);
        assert_same(&a, &b);
    }
    record_free(&a);
    record_free(&b);
    record_free(&c);
    buf_free(&packed);
    buf_free(&json);
}

/* {"id": 7, "url": "u", "more": [1, {"a": nil}, bytes, -3, 1.5]} */
static const unsigned char with_unknown[] = "\x83\xA2id\x07\xA3url\xA1u\xA4more\x95\x01\x81\xA1"
                                            "a\xC0\xC4\x02xy\xFD\xCB\x3F\xF8\0\0\0\0\0\0";

static void test_unknown_fields(void **state)
{
    (void)state;
    struct record r = {0}, copy = {0};
    struct buf out = {0}, json = {0};
    size_t len = sizeof with_unknown - 1;
    assert_int_equal(record_unpack(&r, with_unknown, len), 0);
    assert_int_equal(r.unknown_count, 2);
    record_copy(&copy, &r);
    record_pack(&copy, &out);
    assert_int_equal(out.len, len);
    assert_memory_equal(out.data, with_unknown, len);
    record_to_json(&r, &json);
    assert_string_equal(buf_string(&json), "{\"id\":7,\"url\":\"u\",\"more\":[1,{\"a\":null},\"eHk=\",-3,1.5]}");
    assert_int_equal(record_from_json(&copy, (const char *)json.data, json.len), 0);
    out.len = 0;
    record_to_json(&copy, &out);
    assert_string_equal(buf_string(&out), buf_string(&json));

    static const unsigned char odd_name[] = "\x81\xA4"
                                            "key\0\x81\xC3\x01"; /* no "key" once it is JSON */
    assert_int_equal(record_unpack(&r, odd_name, sizeof odd_name - 1), 0);
    json.len = 0;
    record_to_json(&r, &json);
    assert_string_equal(buf_string(&json), "{\"key\xEF\xBF\xBD\":[true,1]}");
    assert_int_equal(record_from_json(&copy, (const char *)json.data, json.len), 0);

    /* Maps as the keys of maps: as text within text they would double with each level. */
    unsigned char nested[70] = "\x81\xA1x";
    memset(nested + 3, 0x81, 30);
    memset(nested + 33, 0x01, 31);
    assert_int_equal(record_unpack(&r, nested, 64), 0);
    json.len = 0;
    record_to_json(&r, &json);
    assert_in_range(json.len, 60, 200);
    record_free(&r);
    record_free(&copy);
    buf_free(&out);
    buf_free(&json);
}

static void test_cut_anywhere(void **state)
{
    (void)state;
    struct record r = {0};
    struct buf packed = {0};
    for (uint64_t seed = 0; seed < 20; seed++) {
        draw(&r, seed);
        packed.len = 0;
        record_pack(&r, &packed);
        for (size_t len = 0; len < packed.len; len++) {
            unsigned char *exact = xmalloc(len); /* so that a read past the end is seen */
            memcpy(exact, packed.data, len);
            assert_int_equal(record_unpack(&r, exact, len), -1);
            assert_int_equal(err_code(), ERR_DATA);
            free(exact);
        }
        buf_append(&packed, "\xC0", 1);
        assert_int_equal(record_unpack(&r, packed.data, packed.len), -1);
    }
    record_free(&r);
    buf_free(&packed);
}

/* Whatever comes of it is an error or a record that packs to itself. */
static void test_flipped_bits(void **state)
{
    (void)state;
    struct record r = {0}, again = {0};
    struct buf packed = {0}, out = {0}, json = {0};
    for (uint64_t seed = 0; seed < 12; seed++) {
        draw(&r, seed);
        packed.len = 0;
        record_pack(&r, &packed);
        buf_append(&packed, with_unknown + 5, sizeof with_unknown - 6);
        packed.data[0] = (unsigned char)(0x80 | ((packed.data[0] & 0x0F) + 2));
        for (size_t bit = 0; bit < 8 * packed.len; bit++) {
            packed.data[bit / 8] ^= (unsigned char)(1 << bit % 8);
            if (record_unpack(&r, packed.data, packed.len) == 0) {
                out.len = json.len = 0;
                record_pack(&r, &out);
                assert_int_equal(record_unpack(&again, out.data, out.len), 0);
                assert_same(&r, &again);
                record_to_json(&r, &json);
                assert_true(json.len > 0);
            }
            packed.data[bit / 8] ^= (unsigned char)(1 << bit % 8);
        }
    }
    record_free(&r);
    record_free(&again);
    buf_free(&packed);
    buf_free(&out);
    buf_free(&json);
}

static void refuse(const char *bytes, size_t len, const char *why)
{
    struct record r = {0};
    assert_int_equal(record_unpack(&r, bytes, len), -1);
    assert_int_equal(err_code(), ERR_DATA);
    assert_non_null(strstr(err_text(), why));
    assert_int_equal(r.present, 0);
    record_free(&r);
}
#define REFUSE(bytes, why) refuse(bytes, sizeof(bytes) - 1, why)

static void test_refused(void **state)
{
    (void)state;
    REFUSE("", "cut before a value");
    REFUSE("\x90", "not a msgpack map");
    REFUSE("\xDF\xFF\xFF\xFF\xFF", "items claimed");
    REFUSE("\x81\xA5image\xC6\xFF\xFF\xFF\xFF", "bytes claimed");
    REFUSE("\x81\xA6tokens\xDD\xFF\xFF\xFF\xFF", "items claimed");
    REFUSE("\x81\xA3url\xDF\x80\0\0\0", "items claimed");
    REFUSE("\x82\xA2id\x01\xA2id\x01", "id: there twice");
    REFUSE("\x81\xA2id\xFF", "id: not an unsigned integer");
    REFUSE("\x81\xA2id\xA1x", "id: not an unsigned integer");
    REFUSE("\x81\xA5width\xCF\0\0\0\1\0\0\0\0", "width: not an unsigned 32-bit integer");
    REFUSE("\x81\xA3key\xC4\1x", "key: not a string");
    REFUSE("\x81\xA5image\xA1x", "image: not bytes");
    REFUSE("\x81\xA6tokens\x91\xCE\x80\0\0\0", "tokens: not 32-bit integers");
    REFUSE("\x81\xA6tokens\x91\xC0", "tokens: not 32-bit integers");
    REFUSE("\x81\xA5score\xC0", "score: not a number");
    REFUSE("\x81\x01\x01", "a field name is not a string");
    REFUSE("\x81\xA1x\xC1", "invalid byte 0xC1");

    char deep[200] = {(char)0x81, (char)0xA1, 'x'};
    memset(deep + 3, 0x91, sizeof deep - 3);
    refuse(deep, sizeof deep, "deep");

    struct buf big = {0};
    size_t limit = record_fields[FIELD_CAPTION].limit;
    buf_append(&big,
               "\x81\xA7"
               "caption\xDB\x00\x10\x00\x01",
               14);
    buf_reserve(&big, limit + 1);
    memset(big.data + big.len, 'x', limit + 1);
    big.len += limit + 1;
    refuse((char *)big.data, big.len, "caption: 1048577 bytes, limit 1048576");
    big.len = 0;
    buf_append(&big, "\xDE\x05\x00", 3);
    for (int i = 0; i < 0x500; i++)
        buf_append(&big, "\xA1x\x01", 3);
    refuse((char *)big.data, big.len, "unknown fields");
    buf_free(&big);
}

static void test_tombstones(void **state)
{
    (void)state;
    struct record r = {0};
    int32_t one = 1;
    record_set_u64(&r, FIELD_ID, 3);
    record_set_string(&r, FIELD_CAPTION, "  cap", 5);
    record_set_string(&r, FIELD_CAPTION, r.caption.data + 2, 3); /* a part of itself */
    record_set_string(&r, FIELD_IMAGE, "img", 3);
    record_set_ints(&r, FIELD_TOKENS, &one, 1);
    record_set_ints(&r, FIELD_CODES, &one, 1);
    record_reject(&r, "language: %s", "fr");
    assert_int_equal(r.present, 1 << FIELD_ID | 1 << FIELD_CAPTION | 1 << FIELD_REJECT);
    assert_memory_equal(r.caption.data, "cap", 3);

    char *huge = xmalloc(3 << 20);
    memset(huge, 'h', (3 << 20) - 1);
    huge[(3 << 20) - 1] = 0;
    record_reject(&r, "%s", huge);
    assert_int_equal(r.reject.len, record_fields[FIELD_REJECT].limit);
    record_set_caption(&r, huge, 1 << 20, 3 << 20);
    assert_string_equal(buf_string(&r.reject), "caption: 3145728 bytes, limit 1048576");
    assert_in_range(r.caption.len, 1, 1024);
    free(huge);
    record_free(&r);
}

static void refuse_json(const char *text, const char *why)
{
    struct record r = {0};
    assert_int_equal(record_from_json(&r, text, strlen(text)), -1);
    assert_int_equal(err_code(), ERR_DATA);
    assert_non_null(strstr(err_text(), why));
    record_free(&r);
}

static void test_json(void **state)
{
    (void)state;
    struct record r = {0};
    struct buf json = {0};
    refuse_json("", "json");
    refuse_json("[1]", "not an object");
    refuse_json("{\"id\":-1}", "\"id\" is not");
    refuse_json("{\"id\":\"12x\"}", "\"id\" is not");
    refuse_json("{\"id\":1,\"id\":2}", "uplicate");
    refuse_json("{\"width\":4294967296}", "\"width\" is not");
    refuse_json("{\"image\":\"%%%%\"}", "\"image\": base64");
    refuse_json("{\"tokens\":[1,2147483648]}", "\"tokens\" is not");
    refuse_json("{\"caption\":7}", "\"caption\" is not");

    record_set_u64(&r, FIELD_SEED, UINT64_MAX);
    record_set_string(&r, FIELD_CAPTION, "\xFFz\0\"", 4);
    record_set_number(&r, FIELD_SCORE, 0.1);
    record_to_json(&r, &json);
    assert_string_equal(buf_string(&json),
                        "{\"caption\":\"\xEF\xBF\xBDz\\u0000\\\"\",\"seed\":\"18446744073709551615\","
                        "\"score\":0.10000000000000001}");
    assert_int_equal(record_from_json(&r, (char *)json.data, json.len), 0);
    assert_true(r.seed == UINT64_MAX && r.score == 0.1 && r.caption.len == 6);
    record_set_number(&r, FIELD_SCORE, (double)NAN);
    json.len = 0;
    record_to_json(&r, &json);
    assert_int_equal(record_from_json(&r, (char *)json.data, json.len), 0);
    assert_false(record_has(&r, FIELD_SCORE));
    record_free(&r);
    buf_free(&json);
}

static int append(void *out, const char *data, size_t len)
{
    buf_append(out, data, len);
    return 0;
}

/* Integers are the bytes that msgpack's own packer gives, about each change of their length. */
static void test_integers(void **state)
{
    (void)state;
    static const int64_t corners[] = {0,  INT8_MAX, UINT8_MAX, UINT16_MAX, INT32_MAX,
                                      -1, -32,      -128,      INT16_MIN,  INT32_MIN};
    struct record r = {0};
    struct buf got = {0}, expected = {0};
    msgpack_packer packer;
    int32_t ints[30];
    size_t n = 0;
    for (size_t i = 0; i < sizeof corners / sizeof *corners; i++)
        for (int64_t x = corners[i] - 1; x <= corners[i] + 1; x++)
            if (x >= INT32_MIN && x <= INT32_MAX)
                ints[n++] = (int32_t)x;
    record_set_ints(&r, FIELD_TOKENS, ints, n);
    record_pack(&r, &got);
    msgpack_packer_init(&packer, &expected, append);
    msgpack_pack_map(&packer, 1);
    msgpack_pack_str_with_body(&packer, "tokens", 6);
    msgpack_pack_array(&packer, n);
    for (size_t i = 0; i < n; i++)
        msgpack_pack_int32(&packer, ints[i]);
    assert_int_equal(got.len, expected.len);
    assert_memory_equal(got.data, expected.data, got.len);
    buf_free(&got);
    buf_free(&expected);
    record_free(&r);
}

static void test_line_keys(void **state)
{
    (void)state;
    struct record r = {0};
    char long_name[5000];
    record_set_line_key(&r, "a.txt", UINT64_MAX);
    assert_string_equal(buf_string(&r.key), "a.txt:18446744073709551615");
    record_set_line_key(&r, "", 0);
    assert_string_equal(buf_string(&r.key), ":0");
    memset(long_name, 'n', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = 0;
    record_set_line_key(&r, long_name, 17);
    assert_in_range(r.key.len, 4000, record_fields[FIELD_KEY].limit);
    assert_string_equal(buf_string(&r.key) + r.key.len - 4, "n:17");
    record_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips),  cmocka_unit_test(test_unknown_fields), cmocka_unit_test(test_cut_anywhere),
        cmocka_unit_test(test_flipped_bits), cmocka_unit_test(test_refused),        cmocka_unit_test(test_tombstones),
        cmocka_unit_test(test_json),         cmocka_unit_test(test_integers),       cmocka_unit_test(test_line_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
