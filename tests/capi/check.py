"""`make capi-check`: libsamedge under sanitizers, valgrind, libFuzzer and clang-tidy.

    python -m tests.capi.check              everything that is installed
    python -m tests.capi.check fuzz tidy    some of it

OpenVINO is not ours to check, and would hide what is: a stand-in takes its place
(tests/capi/native/stub_backend.cpp), but for `address`, where Python's tests run on the real one.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.capi.build import ROOT, SOURCE, Build, Failed, Unavailable, build
from tests.capi.fuzz_inputs import bundles, seeds

NATIVE = ROOT / "tests" / "capi" / "native"
TINY = ROOT / "tests" / "data" / "tiny.samedge"
STAND_IN = f"-DSAMEDGE_STAND_IN={NATIVE / 'stub_backend.cpp'}"
PLAIN = ("-DCMAKE_BUILD_TYPE=None", "-DCMAKE_CXX_FLAGS=-O1 -g1")
SECONDS = 60  # of all fuzzers together
RANDOM_CALLS = 25  # inputs for valgrind, which is slow


def _clang(tool: str) -> str | None:
    return shutil.which(f"{tool}-14") or shutil.which(tool)


CLANG = (
    f"-DCMAKE_C_COMPILER={_clang('clang')}",
    f"-DCMAKE_CXX_COMPILER={_clang('clang++')}",
)
FUZZ = Build(
    "capi-fuzz",
    (*PLAIN, *CLANG, STAND_IN, "-DSAMEDGE_FUZZ=ON", "-DSAMEDGE_SANITIZE=address,undefined"),
    openvino=False,
)
THREADS = Build("capi-threads", (*PLAIN, STAND_IN, "-DSAMEDGE_SANITIZE=thread"), openvino=False)
VALGRIND = Build("capi-valgrind", (*PLAIN, STAND_IN), openvino=False)
ADDRESS = Build("capi-address", (*PLAIN, "-DSAMEDGE_SANITIZE=address,undefined"))
# Files test_wrong_NAME.py that run on the library with sanitizers.
ADDRESS_TESTS = ("use", "frames", "bundles", "threads")


class Finding(Exception):
    """A check found something; the message is what it said."""


def run(command: Sequence[object], **environment: str) -> str:
    """The output; raises Finding where the command fails."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        raise Finding(f"{shlex.join(words)}\nended with {done.returncode}\n{done.stdout[-12000:]}")
    return done.stdout


def needs(*programs: str) -> None:
    for program in programs:
        if _clang(program) is None:
            raise Unavailable(f"{program} is not installed")


def fuzz() -> str:
    """AddressSanitizer and UndefinedBehaviorSanitizer with clang: native tests, then libFuzzer."""
    needs("clang", "clang++")
    if not list(Path("/usr/lib").glob("llvm-14/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a")):
        raise Unavailable("libclang-rt-14-dev is not installed")
    folder = build(FUZZ)
    quiet = {"ASAN_OPTIONS": "detect_stack_use_after_return=1:allocator_may_return_null=1"}
    for test in sorted((folder / "tests").glob("*_test")):
        run([test, TINY], **quiet)
    targets = sorted(p for p in (folder / "tests").glob("fuzz_*") if os.access(p, os.X_OK))
    targets = [path for path in targets if path.is_file()]
    said = []
    with tempfile.TemporaryDirectory() as temporary:
        quiet["SAMEDGE_FUZZ_BUNDLES"] = ":".join(map(str, bundles()))
        for target in targets:
            corpus = ROOT / ".fuzz" / target.name
            corpus.mkdir(parents=True, exist_ok=True)
            options = [
                f"-max_total_time={SECONDS // len(targets)}",
                "-timeout=20",
                "-rss_limit_mb=3000",
                "-len_control=0",
                "-print_final_stats=1",
                f"-artifact_prefix={corpus}-",
            ]
            output = run([target, *options, corpus, *seeds(target.name, Path(temporary))], **quiet)
            runs = output.partition("stat::number_of_executed_units:")[2].split()
            said.append(f"{target.name}: {runs[0] if runs else '?'} inputs")
    return ", ".join(said)


def threads() -> str:
    """ThreadSanitizer: sessions, handles and the log from several threads."""
    folder = build(THREADS)
    for test in sorted((folder / "tests").glob("*_test")):
        run([test, TINY], TSAN_OPTIONS="halt_on_error=1:second_deadlock_stack=1")
    return "clean"


def valgrind() -> str:
    """memcheck: calls in any order, nothing uninitialised, nothing lost."""
    if shutil.which("valgrind") is None:
        raise Unavailable("valgrind is not installed")
    folder = build(VALGRIND, ["fuzz_api"])
    strict = ["--error-exitcode=9", "--leak-check=full", "--errors-for-leak-kinds=definite", "-q"]
    program = [folder / "tests" / "fuzz_api", "--runs", RANDOM_CALLS, "--seed", 1]
    names = ":".join(map(str, bundles()[:2]))
    run(["valgrind", *strict, *program], SAMEDGE_FUZZ_BUNDLES=names)
    return f"{RANDOM_CALLS} random inputs, clean"


def address() -> str:
    """AddressSanitizer and UndefinedBehaviorSanitizer around OpenVINO: the tests in Python."""
    folder = build(ADDRESS, ["samedge"])
    # Loaded first, both: Python itself is not built with them.
    names = ("libasan.so", "libubsan.so", "libstdc++.so")
    preload = [run(["gcc", f"-print-file-name={name}"]).strip() for name in names]
    files = [f"tests/capi/test_wrong_{name}.py" for name in ADDRESS_TESTS]
    tests = [*files, "-n", "0", "-q", "-s", "-p", "no:cacheprovider"]  # -s: a report gets through
    output = run(
        [
            sys.executable,
            "-m",
            "pytest",
            *tests,
            "-m",
            "not slow",
            "-k",
            "not leave and not thousand",
        ],
        LD_PRELOAD=":".join(preload),
        SAMEDGE_LIBRARY=str(folder / "libsamedge.so.1"),
        ASAN_OPTIONS="detect_leaks=0:allocator_may_return_null=1",
        UBSAN_OPTIONS="print_stacktrace=1",
        TBB_ENABLE_SANITIZERS="1",  # or OpenVINO's TBB opens a library in a way that they refuse
        OMP_NUM_THREADS="1",
    )
    return output.strip().splitlines()[-1]


def tidy() -> str:
    """clang-tidy with samedge/capi/.clang-tidy: no findings."""
    program = _clang("clang-tidy")
    if program is None:
        raise Unavailable("clang-tidy is not installed")
    needs("clang", "clang++")
    folder = build(FUZZ, ["samedge_objects"])
    files = sorted((SOURCE / "src").rglob("*.cpp"))
    known = (folder / "compile_commands.json").read_text()
    files = [path for path in files if str(path) in known]
    for_each = ["xargs", "-P", str(len(os.sched_getaffinity(0))), "-n", "2"]
    command = [*for_each, program, "--quiet", "--warnings-as-errors=*", "-p", str(folder)]
    done = subprocess.run(
        command,
        input="\n".join(map(str, files)),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise Finding(done.stdout[-12000:])
    return f"{len(files)} files, clean"


CHECKS: dict[str, Callable[[], str]] = {
    "fuzz": fuzz,
    "threads": threads,
    "valgrind": valgrind,
    "address": address,
    "tidy": tidy,
}


def main() -> None:
    """Run the checks that are named, or all; those that need what is not installed say so."""
    wrong = [name for name in sys.argv[1:] if name not in CHECKS]
    if wrong:
        sys.exit(f"there is no check {', '.join(wrong)}; there are {', '.join(CHECKS)}")
    failed = []
    for name in sys.argv[1:] or CHECKS:
        start = time.monotonic()
        try:
            said = CHECKS[name]()
        except Unavailable as error:
            said = f"left out: {error}"
        except (Failed, Finding) as error:
            failed.append(name)
            said = f"FAILED\n{error}"
        print(f"capi-check {name} ({time.monotonic() - start:.0f} s): {said}", flush=True)
    if failed:
        sys.exit(f"capi-check failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
