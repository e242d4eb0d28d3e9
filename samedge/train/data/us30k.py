"""Data in the layout of SAMUS's US30K, read as SAMUS reads it (Lin et al. 2023, `data_us.py`).

ROOT/MainPatient/class.json                     {"Breast-BUSI": 2, ...}, background included
ROOT/MainPatient/train.txt, val.txt             1/Breast-BUSI/benign0001
ROOT/MainPatient/test.txt, test-Breast-BUSI.txt   Breast-BUSI/benign0002
ROOT/Breast-BUSI/img/benign0001.png
ROOT/Breast-BUSI/label/benign0001.png
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from samedge.errors import SourceError
from samedge.files.limits import LIST_BYTES
from samedge.files.numbers import parse_json
from samedge.files.paths import read_small
from samedge.sources.frame import Warn
from samedge.train.data.label_files import read_label
from samedge.train.data.reading import Image, check_pair, read_pixels, refuse_copy
from samedge.train.data.samples import Sample

LISTS = "MainPatient"
CLASS_FILE = "class.json"
MAX_CLASSES = 256  # labels are stored with 8 bits


@dataclass(frozen=True)
class ListEntry:
    """One line of a list: a set, a file without its suffix, and the class that is asked for."""

    set_name: str
    file: str
    class_id: int

    @property
    def name(self) -> str:
        """`set/file`."""
        return f"{self.set_name}/{self.file}"


class Us30k:
    """One split of a data set in this layout.

    Args:
        root: the folder that holds `MainPatient`.
        split: name of a list: "train", "val", "test", "test-Breast-BUSI", "train-Breast-BUSI".
        class_id: the class that a line without one (of a test list) asks for; SAMUS takes 1.

    Attributes:
        classes: ("background", "object") if all sets have two classes, else ("background",
            "class 1", ...) for the most that a set has.
        entries: the lines of the list.
        notes: none.

    Raises:
        SourceError: a list or class.json is missing or empty, or has a line that means nothing.
    """

    notes: tuple[str, ...] = ()

    def __init__(self, root: Path, split: str = "train", class_id: int = 1) -> None:
        self._root = root
        self._counts = read_class_counts(root)
        self.entries = read_list(root, split, self._counts, class_id)
        used = {entry.set_name for entry in self.entries}
        self.classes = default_classes(max(self._counts[name] for name in used))

    def __len__(self) -> int:
        return len(self.entries)

    def name(self, index: int) -> str:
        """Name of sample `index`, also of one that cannot be read."""
        return self.entries[index].name

    def __getitem__(self, index: int) -> Sample:
        """Read one sample; its image has colours if the file has.

        Raises:
            SourceError: a file is missing or damaged, sizes differ, or a class is out of range.
        """
        entry = self.entries[index]
        folder = self._root / entry.set_name
        image_path, label_path = (folder / kind / f"{entry.file}.png" for kind in ("img", "label"))
        notes: list[str] = []
        refuse_copy(image_path, label_path, entry.name)
        image = self.image(index, notes.append)
        classes = self._counts[entry.set_name]
        numbers = classes if classes > 2 else None
        label = read_label(label_path, f"label of {entry.name}", numbers, notes.append)
        check_pair(image, label, entry.name)
        return Sample(image, label, entry.name, entry.class_id, tuple(notes))

    def image(self, index: int, warn: Warn) -> Image:
        """The image of a sample without its label; see `read_pixels`."""
        entry = self.entries[index]
        path = self._root / entry.set_name / "img" / f"{entry.file}.png"
        return read_pixels(path, f"image of {entry.name}", warn)


def default_classes(count: int) -> tuple[str, ...]:
    """Names where a data set gives none, the background first."""
    if count == 2:
        return ("background", "object")
    return ("background", *(f"class {i}" for i in range(1, count)))


def read_class_counts(root: Path) -> dict[str, int]:
    """Set -> number of its classes, the background included.

    Raises:
        SourceError: class.json is missing, or is something else.
    """
    places = (root / LISTS / CLASS_FILE, root / CLASS_FILE)
    path = next((p for p in places if p.is_file()), None)
    if path is None:
        raise SourceError(
            f"'{root.name}' has no {LISTS}/{CLASS_FILE}; expected one like "
            '{"Breast-BUSI": 2}: classes of each set, the background included'
        )
    try:
        counts = parse_json(read_small(path, LIST_BYTES.most, SourceError))
    except (FileNotFoundError, RecursionError, ValueError) as error:
        raise SourceError(f"{CLASS_FILE} cannot be read: {error}") from error
    if not isinstance(counts, dict) or not counts:
        raise SourceError(f'{CLASS_FILE} holds no sets; expected {{"Breast-BUSI": 2, ...}}')
    for name, count in counts.items():
        if type(count) is not int or not 2 <= count <= MAX_CLASSES:
            raise SourceError(
                f"{CLASS_FILE}: set '{name}' has {count!r} classes; expected a whole number from "
                f"2 (background and one structure) to {MAX_CLASSES}"
            )
    return counts


def splits_of(root: Path) -> list[str]:
    """Names of the lists that there are."""
    return sorted(path.stem for path in (root / LISTS).glob("*.txt"))


def read_list(root: Path, split: str, counts: dict[str, int], class_id: int = 1) -> list[ListEntry]:
    """The lines of a list; blank ones are skipped.

    Raises:
        SourceError: there is no such list, it is empty, or line N means nothing.
    """
    if split not in (known := splits_of(root)):
        raise SourceError(
            f"there is no list {LISTS}/{split}.txt; there are: {', '.join(known) or 'none'}"
        )
    try:
        data = read_small(root / LISTS / f"{split}.txt", LIST_BYTES.most, SourceError)
        text = data.decode("utf-8-sig")
    except (FileNotFoundError, ValueError) as error:
        raise SourceError(f"{LISTS}/{split}.txt cannot be read: {error}") from error
    numbered = [(i, line.strip()) for i, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not numbered:
        raise SourceError(f"{LISTS}/{split}.txt is empty; expected a line per image")
    return [
        _entry(line, "test" in split, class_id, counts, f"{LISTS}/{split}.txt, line {number}")
        for number, line in numbered
    ]


def _entry(line: str, test: bool, class_id: int, counts: dict[str, int], where: str) -> ListEntry:
    parts = line.split("/")
    # A test list may say the class as well; SAMUS's own do not.
    if test and len(parts) == 2:
        parts = [str(class_id), *parts]
    if len(parts) != 3 or any(part in ("", ".", "..") or "\\" in part for part in parts):
        expected = "set/file" if test else "class/set/file"
        raise SourceError(f"{where} reads '{line}'; expected {expected}, like 1/Breast-BUSI/case1")
    number, name, file = parts
    if name not in counts:
        raise SourceError(
            f"{where} names the set '{name}', which {CLASS_FILE} does not list "
            f"({', '.join(counts)})"
        )
    if not number.isdecimal() or not 1 <= int(number) < counts[name]:
        raise SourceError(
            f"{where}: class '{number}' of '{name}' is out of range; expected 1 to "
            f"{counts[name] - 1}"
        )
    return ListEntry(name, file.removesuffix(".png"), int(number))
