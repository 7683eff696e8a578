# SPDX-License-Identifier: Apache-2.0
"""What bench/run prints at its end: one line for each goal, then the samples behind them."""
import statistics


def say(text):
    print(text, flush=True)


class Report:
    def __init__(self):
        self.goals = []            # (part, what, measured, goal, met or None)
        self.data = {}
        self.skipped = []

    def samples(self, what, values):
        """{name: [sample of each round]}, kept for the report's second half."""
        self.data[what] = values

    def ratio(self, part, what, ours, theirs, goal):
        """Ours has to be at least `goal` times theirs; None: there is no goal."""
        measured = statistics.median(ours) / statistics.median(theirs)
        self.goals.append((part, what, f"{measured:.2f}", "" if goal is None else f">= {goal:g}",
                           None if goal is None else measured >= goal))

    def at_most(self, part, what, measured, goal, unit):
        self.goals.append((part, what, f"{measured:,.1f} {unit}",
                           "" if goal is None else f"<= {goal:g} {unit}",
                           None if goal is None else measured <= goal))

    def at_least(self, part, what, measured, goal, unit):
        self.goals.append((part, what, f"{measured:,.4g} {unit}", f">= {goal:g} {unit}",
                           measured >= goal))

    def missing(self, reason):
        say(f"bench: NOT COMPARED: {reason}")
        self.skipped.append(reason)

    def print(self):
        say("\nsamples (absolute numbers follow the machine's mood; only ratios of one run mean something)")
        for what, values in self.data.items():
            say(f"  {what}")
            for name, numbers in values.items():
                say(f"    {name:<40} median {statistics.median(numbers):>14,.2f}"
                    f"   [{min(numbers):,.2f} .. {max(numbers):,.2f}]")
        say(f"\n{'part':<9} {'what':<82} {'measured':>12} {'goal':>12}  met")
        for part, what, measured, goal, met in self.goals:
            verdict = "" if met is None else "yes" if met else "NO"
            say(f"{part:<9} {what:<82} {measured:>12} {goal:>12}  {verdict}")
        for reason in self.skipped:
            say(f"\nNOT COMPARED: {reason}")

    def complete(self):
        return not self.skipped
