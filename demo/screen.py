# SPDX-License-Identifier: Apache-2.0
"""What the demo shows: one screen that updates on a terminal, plain lines otherwise."""
import shutil
import sys

CLEAR, HOME, CLEAR_LINE, CLEAR_BELOW = "\x1b[2J", "\x1b[H", "\x1b[K", "\x1b[J"
BOLD, DIM, RESET = "\x1b[1m", "\x1b[2m", "\x1b[0m"
HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


def milliseconds(value):
    return "-" if value is None else f"{value:.1f} ms"


class Plain:
    """A line a second for logs and pipes."""

    def __init__(self, header):
        print("\n".join(header), flush=True)

    def update(self, view):
        print(f"t={view['seconds']:.0f}s appended={view['appended']} rows={view['rows']} "
              f"lag={view['lag']} append_rate={view['append_rate']:.0f}/s row_rate={view['row_rate']:.0f}/s "
              f"p50={milliseconds(view['p50'])} p99={milliseconds(view['p99'])} "
              f"compared={view['compared']}", flush=True)

    def close(self):
        pass


class Terminal:
    def __init__(self, header):
        self.header = header
        sys.stdout.write(HIDE_CURSOR + CLEAR)

    def update(self, view):
        width, height = shutil.get_terminal_size()
        lines = [f"{BOLD}ds-sync{RESET}  {view['seconds']:.0f} s   POST -> ds-server -> SSE -> syncd -> "
                 f"Postgres   (Ctrl-C stops all)", ""]
        lines.append(f"  appended {view['appended']:>9}   {view['append_rate']:>7.0f}/s      "
                     f"POST to commit  p50 {milliseconds(view['p50'])}  p99 {milliseconds(view['p99'])}")
        lines.append(f"  rows     {view['rows']:>9}   {view['row_rate']:>7.0f}/s      "
                     f"lag {view['lag']}   compared {view['compared']}   lost {view['lost']}   "
                     f"duplicated {view['duplicated']}")
        lines += ["", f"  {BOLD}{'stream':<28}{'appended':>10}{'rows':>10}{'lag':>7}  state     offset{RESET}"]
        for row in view["streams"]:
            lines.append(f"  {row['name']:<28}{row['appended']:>10}{row['rows']:>10}{row['lag']:>7}  "
                         f"{row['state']:<8}  {row['offset']}")
        lines += ["", f"  {BOLD}newest rows{RESET}"]
        room = height - len(lines) - len(self.header) - 3
        for seq, stream, kind, operation, key, value in view["newest"][:max(room, 1)]:
            lines.append(f"  {stream:<28}{seq:>8}  {kind:<9} {operation:<7} {key:<18} {DIM}{value}{RESET}")
        lines += [""] + [f"  {line}" for line in self.header]
        sys.stdout.write(HOME + "\n".join(self._fit(line, width) + CLEAR_LINE
                                          for line in lines[:height - 1]) + "\n" + CLEAR_BELOW)
        sys.stdout.flush()

    @staticmethod
    def _fit(line, width):
        """Cut to the width, not counting colour codes."""
        out, shown, i = [], 0, 0
        while i < len(line):
            if line[i] == "\x1b":
                end = line.index("m", i) + 1
                out.append(line[i:end])
                i = end
                continue
            if shown < width:
                out.append(line[i])
            shown += 1
            i += 1
        return "".join(out)

    def close(self):
        sys.stdout.write(SHOW_CURSOR + "\n")
        sys.stdout.flush()


def make(header):
    return (Terminal if sys.stdout.isatty() else Plain)(header)
