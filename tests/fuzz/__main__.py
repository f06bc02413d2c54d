"""`python -m tests.fuzz`: every target for as long as one wants, each in a process of its own.

With atheris (pip install atheris) half of the time guided by what is reached in vimmon's code; else changed by
Hypothesis, which knows how a message is put together.
"""

import argparse
import importlib.util
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LONGEST_BYTES = 20_000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="which (default: all)")
    parser.add_argument("--seconds", type=int, default=60, metavar="N", help="how long each (default 60)")
    parser.add_argument("--without-atheris", action="store_true", help="only Hypothesis")
    parser.add_argument("--engine", choices=ENGINES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.engine is not None:
        ENGINES[given.engine](given.targets[0], given.seconds)
        return 0
    engines = list(ENGINES)
    if given.without_atheris or importlib.util.find_spec("atheris") is None:
        engines.remove("atheris")
    from tests.fuzz.seeds import TARGETS

    failed = []
    for name in given.targets or TARGETS:
        for engine in engines:
            print(f"{name}: {given.seconds // len(engines)} s with {engine}", flush=True)
            command = [sys.executable, "-m", "tests.fuzz", name, "--engine", engine]
            command += ["--seconds", str(given.seconds // len(engines))]
            if subprocess.run(command, check=False).returncode:
                failed.append(f"{engine} in {name}")
    print(f"found something: {', '.join(failed)}" if failed else "found nothing")
    return 1 if failed else 0


def fuzz_with_atheris(name: str, seconds: int) -> None:
    import atheris

    with atheris.instrument_imports(include=["vimmon", "redis.connection"]):
        from tests.fuzz.mutation import PIECES
        from tests.fuzz.seeds import TARGETS
    target = TARGETS[name]
    with tempfile.TemporaryDirectory(prefix="vimmon-fuzz-") as folder:
        words = Path(folder) / "words"
        words.write_text("".join(f'"{_escaped(piece)}"\n' for piece in PIECES if 0 < len(piece) < 60))
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        for number, seed in enumerate(target.seeds):
            (corpus / str(number)).write_bytes(seed)
        options = [f"-max_total_time={seconds}", f"-max_len={LONGEST_BYTES}", f"-dict={words}", "-print_final_stats=1"]
        atheris.Setup([sys.argv[0], *options, str(corpus)], target.run)
        atheris.Fuzz()


def fuzz_with_hypothesis(name: str, seconds: int) -> None:
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    from tests.fuzz.mutation import near
    from tests.fuzz.seeds import TARGETS

    target, until, count = TARGETS[name], time.monotonic() + seconds, 0

    @settings(max_examples=2000, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.one_of(near(target.seeds), st.binary(max_size=200), st.text(max_size=100).map(str.encode)))
    def run(data: bytes) -> None:
        nonlocal count
        count += 1
        target.run(data)

    while time.monotonic() < until:
        run()
    print(f"{name}: {count} examples")


def _escaped(piece: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in piece)


ENGINES = {"hypothesis": fuzz_with_hypothesis, "atheris": fuzz_with_atheris}

if __name__ == "__main__":
    sys.exit(main())
