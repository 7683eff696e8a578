"""Turn SQL files into one C source and header: a string per file, and a table of them in name order."""
import pathlib
import sys


def quoted(text: str) -> str:
    lines = []
    for line in text.splitlines():
        if line.startswith("--"):
            continue               # for readers of the file; every execution would send it
        escaped = line.replace("\\", "\\\\").replace('"', '\\"').replace("?", "\\?")
        lines.append(f'    "{escaped}\\n"')
    return "\n".join(lines) or '    ""'


def main() -> None:
    header, out = sys.argv[1], pathlib.Path(sys.argv[2])
    files = sorted(pathlib.Path(name) for name in sys.argv[3:])
    out.mkdir(parents=True, exist_ok=True)
    declarations, definitions, rows = [], [], []
    for file in files:
        name = "sql_" + file.stem if not file.stem[0].isdigit() else "sql_migration_" + file.stem
        declarations.append(f"extern const char {name}[];")
        definitions.append(f"const char {name}[] =\n{quoted(file.read_text())};")
        rows.append(f'    {{"{file.stem}", {name}}},')
    (out / f"{header}.h").write_text(
        f"/* Generated from sql/; do not edit. */\n#pragma once\n\n#include <stddef.h>\n\n"
        "#ifndef DS_SQL_FILE\n#define DS_SQL_FILE\n"
        "typedef struct SqlFile {\n    const char *name; /* the file's name without .sql */\n"
        "    const char *text;\n} SqlFile;\n#endif\n\n"
        + "\n".join(declarations)
        + f"\n\nextern const SqlFile sql_{header}_files[];\nextern const size_t sql_{header}_count;\n")
    (out / f"{header}.c").write_text(
        f'/* Generated from sql/; do not edit. */\n#include "sql/{header}.h"\n\n'
        + "\n\n".join(definitions)
        + f"\n\nconst SqlFile sql_{header}_files[] = {{\n" + "\n".join(rows) + "\n    {NULL, NULL}};\n"
        + f"const size_t sql_{header}_count = {len(files)};\n")


main()
