"""Merges index.json files of a run, prints each case that failed, and the tally. Exit code 1 if any failed.

Two answers of the suite pass: OK and INFORMATIONAL (the standard leaves the behaviour open). NON-STRICT,
UNIMPLEMENTED, WRONG CODE, UNCLEAN and the like fail, for the case and for its close alike. A case that gave no
result at all fails too, without a line of its own.
"""
import json
import sys

import suite

PASS = {"OK", "INFORMATIONAL"}


def main():
    merged = {}
    for path in sys.argv[1:]:
        try:
            with open(path) as file:
                for results in json.load(file).values():
                    merged.update(results)
        except FileNotFoundError:
            print(f"no {path}: that part of the run broke off")
    failed = missing = 0
    cases, _ = suite.load()
    for case in cases:
        name = suite.name(case)
        result = merged.get(name)
        if result is None:
            missing += 1
        elif result["behavior"] not in PASS or result["behaviorClose"] not in PASS:
            failed += 1
            print(f"{name}: {result['behavior']}, close {result['behaviorClose']} ({result['remoteCloseCode']}): "
                  f"{result['result']} {result['resultClose']}")
    informational = sum(result["behavior"] == "INFORMATIONAL" for result in merged.values())
    print(f"{informational} of the passed are informational")
    if missing:
        print(f"{missing} cases did not run")
    print(f"{len(cases) - failed - missing} passed, {failed + missing} failed")
    return 1 if failed + missing else 0


if __name__ == "__main__":
    sys.exit(main())
