/* Prompts that change, as A1111 reads them: its own published cases, and what its grammar makes of others,
 * where that does not depend on chance. */
#include "text/edit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define TEN 10, -1
#define SECOND 10, 10 /* ten steps behind ten */

static const struct {
    const char *prompt;
    int steps, before;
    const char *edits; /* "end=text;" each */
} cases[] = {
    {"test", TEN, "10=test;"},
    {"", TEN, "10=;"},
    {"a [b:3]", TEN, "3=a ;10=a b;"},
    {"a [b: 3]", TEN, "3=a ;10=a b;"},
    {"a [b:3 ] c", TEN, "3=a  c;10=a b c;"},
    {"a [[[b]]:2]", TEN, "2=a ;10=a [[b]];"},
    {"[(a:2):3]", TEN, "3=;10=(a:2);"},
    {"a [b : c : 1] d", TEN, "1=a b  d;10=a  c  d;"},
    {"a[b:[c:d:2]:1]e", TEN, "1=abe;2=ace;10=ade;"},
    {"a [unbalanced", TEN, "10=a [unbalanced;"},
    {"a [b:.5] c", TEN, "5=a  c;10=a b c;"},
    {"((a][:b:c [d:3]", TEN, "3=((a][:b:c ;10=((a][:b:c d;"},
    {"[a|(b:1.1)]", 4, -1, "1=a;2=(b:1.1);3=a;4=(b:1.1);"},
    {"[fe|]male", 4, -1, "1=female;2=male;3=female;4=male;"},
    {"[fe|||]male", 6, -1, "1=female;4=male;5=female;6=male;"},
    {"[|a|b] c", 4, -1, "1= c;2=a c;3=b c;4= c;"},
    {"a [b:.5] c", SECOND, "10=a b c;"},
    {"a [b:1.5] c", SECOND, "5=a  c;10=a b c;"},
    {"a [b:12] c", SECOND, "2=a  c;10=a b c;"},
    {"a [b:7] c", SECOND, "10=a b c;"},
    {"[from:to:when]", TEN, "10=[from:to:when];"},
    {"[from::4]", TEN, "4=from;10=;"},
    {"[:to:4]", TEN, "4=;10=to;"},
    {"[3:5:4]", TEN, "4=3;10=5;"},
    {"[a:0.25] [b::0.75]", TEN, "2= b;7=a b;10=a ;"},
    {"[a:b:0]", TEN, "10=b;"},
    {"[a:b:0.0]", TEN, "10=b;"},
    {"[a:b:-3]", TEN, "10=b;"},
    {"[a:b:1.0]", TEN, "10=a;"},
    {"[a:b:99]", TEN, "10=a;"},
    {"[a:b:1e0]", TEN, "1=a;10=b;"}, /* no point: a step */
    {"[a:b:5.]", TEN, "10=a;"},
    {"[a:b:+.3]", TEN, "3=a;10=b;"},
    {"(x [a:b:5]:1.2)", TEN, "5=(x a:1.2);10=(x b:1.2);"},
    {"((x [a|b]))", 2, -1, "1=((x a));2=((x b));"},
    {"[x [a:b:5]]", TEN, "5=[x a];10=[x b];"},
    {"[[a|b]:[c|d]:2]", 4, -1, "1=a;2=b;3=c;4=d;"},
    {"[a\\:b\\]c:d:5]", TEN, "5=a\\:b\\]c;10=d;"},
    {"\\[a:b:5\\]", TEN, "10=\\[a:b:5\\];"},
    {"[a AND b:c:5]", TEN, "5=a AND b;10=c;"},
    {"a | b [c:d:5]", TEN, "10=a | b [c:d:5];"}, /* a bar of nothing */
    {"a [{b|d{:.5] c", TEN, "10=a [{b|d{:.5] c;"},
    {"[a|b:5] [c:d:5]", TEN, "10=[a|b:5] [c:d:5];"},
    {"[c:d:5]\\", TEN, "10=[c:d:5]\\;"}, /* a backslash before nothing */
    {"[a:b:5] (c:d:1)", TEN, "5=a (c:d:1);10=b (c:d:1);"},
    {"[a:b:5:6]", TEN, "10=[a:b:5:6];"},
    {"[a:b:five]", TEN, "10=[a:b:five];"},
    {"[a:b:1.2.3]", TEN, "10=[a:b:1.2.3];"},
    {"[:3]", TEN, "10=;"},
    {"\u72d0 [\u00e9:5]", TEN, "5=\u72d0 ;10=\u72d0 \u00e9;"},
    {"a\n[b:\n5\n]", TEN, "5=a\n;10=a\nb;"},
    {"[a|a]", TEN, "10=a;"},
};

static void edits(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bl_subprompt part = {cases[i].prompt, strlen(cases[i].prompt), 1};
        char text[256] = "";
        bl_edits e;
        assert_int_equal(bl_edits_read(&e, &part, cases[i].steps, cases[i].before, NULL), 0);
        for (int k = 0; k < e.count; k++) {
            size_t n = strlen(text);
            snprintf(text + n, sizeof text - n, "%d=%.*s;", e.list[k].end, (int)e.list[k].length,
                     e.text + e.list[k].start);
        }
        if (strcmp(text, cases[i].edits) != 0) {
            fail_msg("\"%s\": \"%s\" instead of \"%s\"", cases[i].prompt, text, cases[i].edits);
        }
        bl_edits_clear(&e);
    }
}

static const struct {
    const char *prompt, *parts; /* "weight=text;" each */
} joined[] = {
    {"a cat", "1=a cat;"},
    {"a cat AND a dog", "1=a cat;1= a dog;"},
    {"a cat :1.2 AND a dog:-0.5 AND x", "1.2=a cat;-0.5= a dog;1= x;"},
    {"a\nAND\nb : 2\n", "1=a;2=\nb;"},
    {"BRAND ANDY aAND AND_ AND", "1=BRAND ANDY aAND AND_;1=;"},
    {"\u00e9AND x", "1=\u00e9AND x;"},
    {"(a:1.2) AND b", "1=(a:1.2);1= b;"},
    {"a:1:2", "2=a:1;"},
    {"a:1.2.3", "1=a:1.2.3;"},
    {"a: .5", "0.5=a;"},
    {"a:5.", "5=a;"},
    {"a:", "1=a:;"},
    {"a:+2", "2=a;"},
    {"a:.", "1=a:.;"},
    {"a:1e2", "1=a:1e2;"},
    {"[a AND b:c:5]", "1=[a;1= b:c:5];"},
    {"AND", "1=;1=;"},
    {"", "1=;"},
};

static void parts(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof joined / sizeof *joined; i++) {
        char text[256] = "";
        bl_subprompt *list;
        int count;
        assert_int_equal(bl_subprompts_split(&list, &count, joined[i].prompt, strlen(joined[i].prompt), NULL),
                         0);
        for (int k = 0; k < count; k++) {
            size_t n = strlen(text);
            snprintf(text + n, sizeof text - n, "%g=%.*s;", list[k].weight, (int)list[k].length,
                     list[k].text);
        }
        if (strcmp(text, joined[i].parts) != 0) {
            fail_msg("\"%s\": \"%s\" instead of \"%s\"", joined[i].prompt, text, joined[i].parts);
        }
        free(list);
    }
    bl_subprompt *list;
    int count;
    bl_error err;
    assert_int_equal(bl_subprompts_split(&list, &count, "a AND b:2000", 12, &err), BL_E_ARGUMENT);
    assert_non_null(strstr(err.message, "part 2"));
}

/* The first edit lasts a call longer than its steps; behind the last end A1111 begins anew. */
static void calls(void **state) {
    static const int ends[] = {3, 10};
    (void)state;
    for (int call = 0; call < 14; call++) {
        assert_int_equal(bl_edits_at(ends, 2, call), call > 3 && call <= 10);
    }
}

/* Brackets without end, as deep as a prompt can have them, and each read once. */
static void deep(void **state) {
    enum { N = 16384 };
    static const char *const units[] = {"[", "(", "[a|", "[a:", "(a:", "[[a:b:3]", "]", "[a|b]", "((a))["};
    char *text = malloc(N);
    (void)state;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        size_t n = strlen(units[i]), length = N / n * n;
        for (size_t k = 0; k < length; k++) {
            text[k] = units[i][k % n];
        }
        bl_subprompt part = {text, length, 1};
        bl_edits e;
        assert_int_equal(bl_edits_read(&e, &part, 20, -1, NULL), 0);
        bl_edits_clear(&e);
    }
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(edits),
        cmocka_unit_test(parts),
        cmocka_unit_test(calls),
        cmocka_unit_test(deep),
    };
    return cmocka_run_group_tests_name("text.edit", tests, NULL, NULL);
}
