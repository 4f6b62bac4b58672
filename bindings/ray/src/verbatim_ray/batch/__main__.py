"""`python -m verbatim_ray.batch`: a file of requests, answered by a cluster into a folder."""

import argparse
import logging
import sys
import time

import ray
from ray.exceptions import RayError

from verbatim_ray.batch import batch
from verbatim_ray.batch.capacity import CapacityError
from verbatim_ray.batch.folder import FolderError

LONGEST = 2000
"""Characters of an error that are shown, at most."""


class Bar:
    """How far a batch is: on a terminal a bar in a line of its own, else a line now and then."""

    def __init__(self) -> None:
        self.is_terminal = sys.stderr.isatty()
        self.pause_s = 0.1 if self.is_terminal else 10.0
        self.next = 0.0
        self.first: tuple[float, int] | None = None

    def __call__(self, done: int, total: int | None) -> None:
        """Shows it, if that is due."""
        now = time.monotonic()
        self.first = self.first or (now, done)
        if now < self.next and done != total:
            return
        self.next = now + self.pause_s
        rate = (done - self.first[1]) / max(now - self.first[0], 0.001)
        text = f"{done}/{total} lines, {rate:.1f}/s" if total else f"{done} lines, {rate:.1f}/s"
        if self.is_terminal and total:
            full = 40 * done // total
            text = f"{'█' * full}{'░' * (40 - full)} {text}"
        print(f"\r{text}\x1b[K" if self.is_terminal else text, end="", file=sys.stderr, flush=True)
        if not self.is_terminal or done == total:
            print(file=sys.stderr, flush=True)


def main() -> int:
    """Runs it. The exit code is 0, or 1 where lines are left to be tried again, or 2."""
    parser = argparse.ArgumentParser(
        prog="python -m verbatim_ray.batch",
        description=(
            "Answers the lines of a file, as `verbatim batch` does, by servers all over a Ray "
            "cluster. Killed, it is begun again by the same command."
        ),
        epilog="What stands behind -- are flags of `verbatim serve`.",
    )
    parser.add_argument("input", help="the file: a request a line, as OpenAI's Batch API has them")
    parser.add_argument("output", help="the folder of answers; what it has is not asked for again")
    parser.add_argument(
        "--model", help="as for `verbatim serve`, on every node (default: the built-in one)"
    )
    parser.add_argument("--replicas", type=int, default=2, help="servers (default: %(default)s)")
    parser.add_argument(
        "--threads", type=int, default=1, help="threads of each (default: %(default)s)"
    )
    parser.add_argument(
        "--max-seqs", type=int, default=8, help="sequences of each (default: %(default)s)"
    )
    parser.add_argument("--binary", help="the program `verbatim` (default: found)")
    parser.add_argument(
        "--address", help="the cluster (default: one on this machine, or RAY_ADDRESS)"
    )
    parser.add_argument(
        "--wait",
        type=float,
        default=5,
        help="seconds that the cluster may take to have the processors",
    )
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    asked, flags = parser.parse_args(words[:cut]), words[cut + 1 :]
    ray.init(address=asked.address, log_to_driver=False, logging_level=logging.WARNING)
    try:
        report = batch(
            asked.input,
            asked.output,
            model=asked.model,
            replicas=asked.replicas,
            threads=asked.threads,
            max_seqs=asked.max_seqs,
            binary=asked.binary,
            args=flags,
            progress=Bar(),
            wait_s=asked.wait,
        )
    except (CapacityError, FolderError, RayError, OSError, ValueError) as error:
        # What an actor raised ends with its own error, behind the path that it took.
        print(f"error: {str(error).strip()[-LONGEST:]}", file=sys.stderr)
        return 2
    print(
        f"{report.answered} answers ({report.before} of them from before, {report.failed} errors), "
        f"{report.refused} lines that are no requests, {report.unanswered} to be tried again: "
        f"{asked.output}",
        file=sys.stderr,
    )
    return 1 if report.unanswered else 0


if __name__ == "__main__":
    sys.exit(main())
