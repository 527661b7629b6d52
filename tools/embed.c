/* SPDX-License-Identifier: MIT
 *
 * embed.c - files of the web page as a C table, printed to standard output.
 *
 *   embed web/index.html=/ web/app.js ...      FILE=PATH where the path is not /name
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *type_of(const char *file) {
    static const char *const table[][2] = {{".html", "text/html; charset=utf-8"},
                                           {".js", "text/javascript; charset=utf-8"},
                                           {".css", "text/css; charset=utf-8"},
                                           {".json", "application/json"}};
    const char *dot = strrchr(file, '.');
    for (size_t i = 0; dot && i < sizeof table / sizeof table[0]; i++)
        if (strcmp(dot, table[i][0]) == 0) return table[i][1];
    return "application/octet-stream";
}

static int put_bytes(int i, const char *file) {
    FILE *f = fopen(file, "rb");
    int c, n = 0;
    if (!f) {
        perror(file);
        return 1;
    }
    printf("static const unsigned char bytes_%d[] = {", i);
    while ((c = getc(f)) != EOF) printf("%s%d,", n++ % 24 == 0 ? "\n    " : "", c);
    printf("0};\n");
    fclose(f);
    return 0;
}

int main(int argc, char **argv) {
    printf("/* made by tools/embed.c */\n#include \"server_internal.h\"\n\n");
    for (int i = 1; i < argc; i++) {
        char *equals = strchr(argv[i], '=');
        if (equals) *equals = '\0';
        if (put_bytes(i, argv[i])) return 1;
        if (equals) *equals = '=';
    }
    printf("\nconst web_file web_files[] = {\n");
    for (int i = 1; i < argc; i++) {
        char *equals = strchr(argv[i], '='), *slash;
        if (equals) *equals = '\0';
        slash = strrchr(argv[i], '/');
        printf("    {\"%s%s\", \"%s\", bytes_%d, sizeof bytes_%d - 1},\n", equals ? "" : "/",
               equals  ? equals + 1
               : slash ? slash + 1
                       : argv[i],
               type_of(argv[i]), i, i);
    }
    printf("};\nconst int web_n_files = %d;\n", argc - 1);
    return 0;
}
