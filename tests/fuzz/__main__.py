"""Coverage-guided fuzzing: `make fuzz`, or by hand

    python -m tests.fuzz run png --seconds 600      damage files until the time is up
    python -m tests.fuzz replay png FILE...         read these files once, with tracebacks
    python -m tests.fuzz list                       the readers

Atheris (libFuzzer) watches which lines of samedge, pydicom and nibabel a file reaches and goes on
from those that reach new ones. Half of its damage is libFuzzer's own, half is `mutation.py`, which
keeps checksums and archives whole. What it learned stays in `.fuzz/READER/learned`, so a later run
begins there. A file that breaks a promise (see `watching.py`) goes to `.fuzz/READER/found`; its
place is known then and does not stop the run. Crashes, hangs and memory that end the process are
kept likewise, and the run goes on in a new process.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

import click

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / ".fuzz"
CORPUS = Path(__file__).parent / "corpus"
_INSTRUMENTED = ["samedge", "pydicom", "nibabel"]
_HANG_S = 60
_MEMORY_MB = 6000


@click.group()
def main() -> None:
    """Fuzz the readers of samedge."""


@main.command("list")
def show() -> None:
    """Names of the readers."""
    from tests.fuzz.targets import TARGETS

    for name in TARGETS:
        click.echo(name)


@main.command()
@click.argument("names", nargs=-1)
@click.option("--seconds", type=int, default=60, show_default=True, help="For each reader.")
@click.option("--seed", type=int, default=1, show_default=True)
def run(names: tuple[str, ...], seconds: int, seed: int) -> None:
    """Fuzz the readers NAMES, one after the other; all of them without a name."""
    from tests.fuzz.targets import TARGETS

    chosen = names or tuple(TARGETS)
    for name in chosen:
        if name not in TARGETS:
            raise click.UsageError(f"there is no reader '{name}'; there are: {', '.join(TARGETS)}")
    count = sum(_run(name, seconds, seed) for name in chosen)
    if count:
        raise click.ClickException(f"{count} files break a promise; they lie in {WORK.name}/")


@main.command()
@click.argument("name")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
def replay(name: str, files: tuple[Path, ...]) -> None:
    """Let the reader NAME read FILES once."""
    from tests.fuzz.targets import TARGETS
    from tests.fuzz.watching import watched

    target, bad = TARGETS[name], 0
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SAMEDGE_CACHE"] = os.path.join(folder, "cache")
        for file in files:
            found = watched(target.read, file.read_bytes(), f"fuzz{target.suffix}", Path(folder))
            bad += found is not None
            click.echo(f"{file.name}: {found or 'as it should be'}")
            if found is not None:
                click.echo(found.details)
    sys.exit(bool(bad))


def _run(name: str, seconds: int, seed: int) -> int:
    """Fuzz one reader in processes of its own; returns the number of files that were found."""
    found = WORK / name / "found"
    found.mkdir(parents=True, exist_ok=True)
    before = {*found.iterdir()}
    end = time.monotonic() + seconds
    while (left := int(end - time.monotonic())) > 0:
        click.echo(f"{name}: {left} s")
        command = [sys.executable, "-m", "tests.fuzz", "inside", name, str(left), str(seed)]
        files = len([*found.iterdir()])
        if subprocess.run(command, cwd=ROOT, check=False).returncode == 0:
            break
        if len([*found.iterdir()]) == files:
            raise click.ClickException(f"{name}: the fuzzer itself failed; see above")
        seed += 1
    new = sorted({*found.iterdir()} - before)
    for file in new:
        path = file.relative_to(ROOT)
        click.echo(f"{name}: {path}\n  python -m tests.fuzz replay {name} {path}")
    return len(new)


@main.command(hidden=True)
@click.argument("name")
@click.argument("seconds", type=int)
@click.argument("seed", type=int)
def inside(name: str, seconds: int, seed: int) -> None:
    """The process that is fuzzed."""
    import atheris

    # Never left: readers import what they need when they first run.
    atheris.instrument_imports(include=_INSTRUMENTED).__enter__()
    from tests.fuzz.mutation import mutated
    from tests.fuzz.targets import TARGETS
    from tests.fuzz.watching import watched

    target = TARGETS[name]
    found, learned, given = (WORK / name / part for part in ("found", "learned", "seeds"))
    for folder in (found, learned, given):
        folder.mkdir(parents=True, exist_ok=True)
    wholes = target.seeds()
    for index, whole in enumerate(wholes):
        (given / str(index)).write_bytes(whole)
    known = {file.name.partition("-")[0] for file in found.iterdir()}
    temporary = Path(tempfile.mkdtemp())
    os.environ["SAMEDGE_CACHE"] = str(temporary / "cache")

    def read(data: bytes) -> None:
        finding = watched(target.read, data, f"fuzz{target.suffix}", temporary)
        if finding is not None and finding.digest not in known:
            known.add(finding.digest)
            kind = finding.kind.replace(" ", "_")
            (found / f"{finding.digest}-{kind}").write_bytes(data)
            click.echo(f"\nFOUND {finding}\n{finding.details}", err=True)

    def damage(data: bytes, most: int, number: int) -> bytes:
        chance = Random(number)
        if chance.random() < 0.5:
            changed = atheris.Mutate(data, len(data))
        else:
            changed = mutated(data, chance, target.tokens, wholes)
        if target.close is not None:
            changed = target.close(changed)
        return bytes(changed[:most])

    options = [
        f"-max_total_time={seconds}", f"-seed={seed}", f"-max_len={target.most}", "-len_control=0",
        f"-timeout={_HANG_S}", f"-rss_limit_mb={_MEMORY_MB}", f"-artifact_prefix={found}/",
        "-print_final_stats=0", "-verbosity=1", "-use_value_profile=0",
    ]  # fmt: skip
    corpus = [str(p) for p in (learned, given, CORPUS / name) if p.is_dir()]
    atheris.Setup([sys.argv[0], *options, *corpus], read, custom_mutator=damage)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
