/* Language: word lists, CLD2, and the two together on short captions of many kinds. */
#include "common/err.h"
#include "filter/caption.h"
#include "filter/language.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

static struct rules rules;
static struct lexicon *english;

static int open_all(void **state)
{
    (void)state;
    return rules_add_default(&rules) < 0 || lexicon_open(&english, &rules, "en") < 0;
}

static int close_all(void **state)
{
    (void)state;
    lexicon_close(&english);
    rules_free(&rules);
    return 0;
}

static bool wanted(const struct lexicon *x, const char *caption, char name[16])
{
    struct buf text = {0};
    struct language_verdict v;
    caption_clean(caption, strlen(caption), &text);
    language_judge(x, buf_string(&text), text.len, &v);
    snprintf(name, 16, "%s", v.accepted ? "" : v.name);
    buf_free(&text);
    return v.accepted;
}

static const char *const in_english[] = {
    "a drawing of a woman firefighter with medium-dark skin tone",
    "a drawing of a person with dark skin tone and curly hair",
    "woman firefighter: medium-dark skin tone",
    "man in manual wheelchair: light skin tone",
    "a drawing of a mermaid",
    "a picture of a mage with light skin tone",
    "an emoji of a vampire",
    "the flag of Belgium",
    "a drawing of the flag of New Zealand",
    "flag: United Kingdom",
    "smiling face with heart-eyes",
    "kiss: woman, man, dark skin tone",
    "woman and man holding hands",
    "index pointing at the viewer",
    "A man surfing.",
    "A man gesticulates.",
    "Man scales rock.",
    "A kayaker tumbles over.",
    "Five men running",
    "Boys playing soccer",
    "an armchair in the shape of an avocado",
    "a snail made of harp",
    "Barack Obama visits Berlin",
    "Planted roof of Chicago City Hall",
    "Angela Merkel and Emmanuel Macron meet Vladimir Putin",
    "Kim Kardashian and Kanye West arrive at the Met Gala",
    "Andy Roddick plays tennis",
    "a street in old Malmö",
    "Café de Flore, a café in Paris",
    "cute puppies sleeping together",
    "abstract vector background",
    "A WOMAN IN A RED DRESS",
    "isn't it lovely",
    "isn’t it lovely",
    "12 34 56",
    "1st place medal",
    "a shiba inu",
    "a Tyrannosaurus Rex",
    "the mona lisa",
};

static const struct {
    const char *caption, *language;
} in_others[] = {
    {"Ein Mann in einem blauen Hemd steht auf einer Leiter", "de"},
    {"Feuerwehrfrau: mitteldunkle Hautfarbe", "de"},
    {"Zeichnung eines Mannes im Rollstuhl", "de"},
    {"Frau mit Kopftuch: helle Hautfarbe", "de"},
    {"Une fille avec un manteau rouge fait un ange de neige", "fr"},
    {"pompier femme : peau mate", "fr"},
    {"drapeau de la Belgique", "fr"},
    {"dessin d'une femme pompier à la peau claire", "fr"},
    {"Un hombre con camisa azul está de pie en la calle", "es"},
    {"mujer bombera: tono de piel claro", "es"},
    {"bandera de Nueva Zelanda", "es"},
    {"Un uomo con una camicia blu sta in piedi", "it"},
    {"donna pompiere: carnagione chiara", "it"},
    {"Um homem de camisa azul está na rua", "pt"},
    {"mulher bombeira: pele clara", NULL},
    {"Een man in een blauw shirt staat op een ladder", "nl"},
    {"man in rolstoel", "nl"},
    {"mannen hand in hand: donkergetinte huidskleur", "nl"},
    {"Pilot(in): dunkle Hautfarbe", NULL},
    {"blond man: mellanljus hy", NULL},
    {"Person in motorisiertem Rollstuhl", NULL},
    {"vrouw in brandweeruniform: lichte huidskleur", NULL},
    {"Dívka v červené bundě dělá anděla ve sněhu", "cs"},
    {"Mężczyzna w niebieskiej koszuli stoi na drabinie", "pl"},
    {"En man i blå skjorta står på en stege", NULL},
    {"Mies seisoo tikkailla sinisessä paidassa", "fi"},
    {"Egy férfi kék ingben áll a létrán", "hu"},
    {"Mavi gömlekli bir adam merdivende duruyor", "tr"},
    {"Seorang pria berkemeja biru berdiri di tangga", "id"},
    {"Người đàn ông mặc áo xanh đứng trên thang", "vi"},
    {"Мужчина в синей рубашке стоит на лестнице", "ru"},
    {"Чоловік у синій сорочці стоїть на драбині", "uk"},
    {"Ένας άντρας με μπλε πουκάμισο στέκεται", "el"},
    {"青いシャツを着た男性が立っている", "ja"},
    {"一个穿蓝衬衫的男人站在梯子上", "zh"},
    {"파란 셔츠를 입은 남자가 서 있다", "ko"},
    {"رجل يرتدي قميصا أزرق يقف على السلم", "ar"},
    {"גבר בחולצה כחולה עומד על סולם", "he"},
    {"नीली कमीज पहने एक आदमी सीढ़ी पर खड़ा है", NULL},
    {"ชายสวมเสื้อสีน้ำเงินยืนอยู่บนบันได", "th"},
    {"a mulher negra", "pt"},
    {"a kék ház", "hu"},
    {"an aghaidh bhán", NULL},
    {"light na kulay ng balat", NULL},
    {"ghode par baitha aadmi aur ek ladki", NULL},
    {"12時 と 30分", NULL},
};

static void test_short_captions(void **state)
{
    (void)state;
    char name[16];
    int wrong = 0;
    for (size_t i = 0; i < COUNT(in_english); i++) {
        if (!wanted(english, in_english[i], name)) {
            print_error("dropped as %s: '%s'\n", name, in_english[i]);
            wrong++;
        }
    }
    for (size_t i = 0; i < COUNT(in_others); i++) {
        bool kept = wanted(english, in_others[i].caption, name);
        if (kept || (in_others[i].language && strcmp(name, in_others[i].language) != 0)) {
            print_error("'%s': %s, not %s\n", in_others[i].caption, kept ? "kept" : name, in_others[i].language);
            wrong++;
        }
    }
    assert_int_equal(wrong, 0);
}

static void test_other_languages_wanted(void **state)
{
    (void)state;
    static const struct {
        const char *accepted, *caption;
        bool keep;
    } table[] = {
        {"de", "Ein Mann in einem blauen Hemd", true},    {"de", "Frau mit Kopftuch: helle Hautfarbe", true},
        {"de", "A man in a blue shirt", false},           {"de", "Un homme à la chemise bleue", false},
        {"en,de", "Ein Mann in einem blauen Hemd", true}, {"en,de", "A man in a blue shirt", true},
        {"en,de", "Un homme à la chemise bleue", false},  {"ru", "Мужчина в синей рубашке стоит на лестнице", true},
        {"ru", "A man in a blue shirt", false},           {"ja,zh", "青いシャツを着た男性が立っている", true},
    };
    for (size_t i = 0; i < COUNT(table); i++) {
        struct lexicon *x;
        char name[16];
        assert_int_equal(lexicon_open(&x, &rules, table[i].accepted), 0);
        if (wanted(x, table[i].caption, name) != table[i].keep)
            fail_msg("%s: '%s'", table[i].accepted, table[i].caption);
        lexicon_close(&x);
    }
}

static int points(const struct lexicon *x, const char *text)
{
    struct lexicon_score s;
    lexicon_score(x, text, strlen(text), &s, NULL, NULL);
    return s.points;
}

static void test_points(void **state)
{
    (void)state;
    static const char lists[] = "[words xx]\nrun stop city house it don't café\n[shared xx]\nbus a\n[articles xx]\na\n"
                                "[endings xx]\n's s ing ies/y ing/e\n[alphabet xx]\nabcdefghijklmnopqrstuvwxyz\n"
                                "[words yy]\nder it\n[shared yy]\nbus und\n";
    static const struct {
        const char *text;
        int words, points;
    } table[] = {
        {"", 0, 0},
        {"... 42 !", 0, 0},
        {"run", 1, 2},
        {"RUN Run's", 2, 4},
        {"stopping runs cities", 3, 6},
        {"bus buses a", 3, 2},
        {"a bus", 2, 3},
        {"bus a", 2, 2},
        {"der und nothing", 3, -2},
        {"it", 1, 1},
        {"don't don’t", 2, 4},
        {"house-bus der-city city-nothing", 3, -1},
        {"café cafés naïf дом", 4, -4},
        {"run--stop 'run'", 3, 6},
        {"1st run, 2nd 3D city 4дом", 3, 2},
        {"run Дом", 2, 2},
        {"Дом run", 2, 0},
    };
    struct rules r = {0};
    struct lexicon *x;
    assert_int_equal(rules_add_text(&r, "lists", lists, sizeof lists - 1), 0);
    assert_int_equal(lexicon_open(&x, &r, "xx"), 0);
    for (size_t i = 0; i < COUNT(table); i++) {
        struct lexicon_score s;
        lexicon_score(x, table[i].text, strlen(table[i].text), &s, NULL, NULL);
        if (s.words != table[i].words || s.points != table[i].points)
            fail_msg("'%s': %d words, %d points", table[i].text, s.words, s.points);
    }
    lexicon_close(&x);
    rules_free(&r);
    /* a word of any length */
    char *word = xmalloc(100001);
    memset(word, 'a', 100000);
    word[100000] = 0;
    assert_int_equal(points(english, word), 0);
    free(word);
}

/* CLD2's guess at another language counts for nothing where captions of that language do not begin so. */
static void test_beginnings(void **state)
{
    (void)state;
    static const char lists[] = "[shared xx]\na\n[articles xx]\na\n[words yy]\nder\n[begins yy]\na\n";
    static const struct {
        const char *text;
        bool article, begins_yy;
        int foreign;
    } table[] = {
        {"a zug", true, true, 0}, {"der a", false, false, 1}, {"zug a", false, false, 0}, {"", false, false, 0}};
    struct rules r = {0};
    struct lexicon *x;
    assert_int_equal(rules_add_text(&r, "lists", lists, sizeof lists - 1), 0);
    assert_int_equal(lexicon_open(&x, &r, "xx"), 0);
    for (size_t i = 0; i < COUNT(table); i++) {
        struct lexicon_score s;
        lexicon_score(x, table[i].text, strlen(table[i].text), &s, NULL, NULL);
        assert_int_equal(s.article, table[i].article);
        assert_int_equal(lexicon_begins(x, &s, "yy"), table[i].begins_yy);
        assert_false(lexicon_begins(x, &s, "zz"));
        assert_int_equal(s.foreign, table[i].foreign);
    }
    lexicon_close(&x);
    rules_free(&r);
}

static void test_faults_are_named(void **state)
{
    (void)state;
    static const char *const faults[][3] = {
        {"[thresholds en]\n1 2 3\n", "en", "mine:1"},
        {"[thresholds en]\n1 2 3 x\n", "en", "mine:1"},
        {"[words averyveryverylongname]\na\n", "en", "averyveryverylongname"},
        {"", "en,,de", "--lang"},
    };
    for (size_t i = 0; i < COUNT(faults); i++) {
        struct rules r = {0};
        struct lexicon *x;
        assert_int_equal(rules_add_text(&r, "mine", faults[i][0], strlen(faults[i][0])), 0);
        assert_int_equal(lexicon_open(&x, &r, faults[i][1]), -1);
        assert_non_null(strstr(err_text(), faults[i][2]));
        assert_null(x);
        rules_free(&r);
    }
}

/* Of each file a part that suffices to see a change for the worse; tests/bench/language_table.sh has all. */
static void test_caption_files(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        int most_kept, least_kept; /* of 2,000, per ten thousand */
    } table[] = {{"english", 10000, 9990}, {"de", 10, 0}, {"fr", 10, 0}, {"cs", 10, 0}};
    for (size_t i = 0; i < COUNT(table); i++) {
        char path[80], line[4096], name[16];
        int all = 0, kept = 0;
        snprintf(path, sizeof path, "../shared/captions/%s.txt.gz", table[i].file);
        gzFile f = gzopen(path, "rb");
        if (!f)
            skip();
        while (all < 2000 && gzgets(f, line, sizeof line)) {
            kept += wanted(english, line, name);
            all++;
        }
        gzclose(f);
        assert_int_equal(all, 2000);
        assert_in_range(kept * 5, table[i].least_kept, table[i].most_kept);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_short_captions),   cmocka_unit_test(test_other_languages_wanted),
        cmocka_unit_test(test_points),           cmocka_unit_test(test_beginnings),
        cmocka_unit_test(test_faults_are_named), cmocka_unit_test(test_caption_files),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
