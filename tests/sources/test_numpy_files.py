"""numpy arrays: which one, which axis, and nothing that runs code or eats the memory."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samedge.errors import NotSupportedError, SamEdgeError, SourceError
from samedge.sources.opening import open_source


@pytest.fixture
def volume() -> np.ndarray:
    """Bytes `[D, H, W]`."""
    return np.random.default_rng(0).integers(0, 256, (5, 20, 24)).astype(np.uint8)


def frames_of(path: Path, **options: object) -> np.ndarray:
    return np.stack([f.pixels for f in open_source(path, **options)])  # type: ignore[arg-type]


@pytest.mark.parametrize("fortran", [False, True])
def test_npy_volumes(tmp_path: Path, volume: np.ndarray, fortran: bool) -> None:
    path = tmp_path / "case.npy"
    np.save(path, np.asfortranarray(volume) if fortran else volume)
    source = open_source(path)
    assert (source.kind, source.is_stack, source.total, source.size) == (
        "volume",
        True,
        5,
        (20, 24),
    )
    assert source.voxel_mm3 is None
    np.testing.assert_array_equal(frames_of(path), volume)
    assert [f.name for f in source][1] == "case_00001"


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_axis_of_the_slices(tmp_path: Path, volume: np.ndarray, axis: int) -> None:
    np.savez_compressed(tmp_path / "case.npz", vol=np.moveaxis(volume, 0, axis))
    np.testing.assert_array_equal(frames_of(tmp_path / "case.npz", axis=axis), volume)


def test_a_slice_of_synapse(tmp_path: Path) -> None:
    """SAMed's preprocessing keeps slices of 0..1 floats beside their labels."""
    image = np.linspace(0, 1, 32 * 40, dtype=np.float32).reshape(32, 40)
    path = tmp_path / "case0005_slice000.npz"
    np.savez(path, label=np.zeros((32, 40), np.float32), image=image)
    source = open_source(path, deep=True)
    (frame,) = list(source)
    assert (source.kind, source.is_stack, frame.name) == ("image", False, "case0005_slice000")
    np.testing.assert_array_equal(frame.pixels, np.round(image.astype(np.float64) * 65535))
    assert source.warnings == []
    with pytest.raises(SourceError, match="a single slice; --axis is for volumes"):
        open_source(path, axis=0)


def test_the_usual_name_comes_first_then_the_only_picture(tmp_path: Path) -> None:
    one, two = np.full((2, 16, 16), 1, np.uint8), np.full((2, 16, 16), 2, np.uint8)
    np.savez(tmp_path / "a.npz", label=two, data=two, image=one)
    assert (frames_of(tmp_path / "a.npz") == 1).all()
    np.savez(tmp_path / "b.npz", scan=one, spacing=np.ones(3), name=np.array("Doe^Jane"))
    assert (frames_of(tmp_path / "b.npz") == 1).all()
    np.savez(tmp_path / "c.npz", scan=one, Doe_Jane=two)
    with pytest.raises(SourceError, match=r"2 of them could be.*call the one.*'image'") as caught:
        open_source(tmp_path / "c.npz")
    assert "Jane" not in str(caught.value)
    np.savez(tmp_path / "d.npz", numbers=np.ones(5))
    with pytest.raises(SourceError, match=r"1 arrays of shape \[5\]; 0 of them"):
        open_source(tmp_path / "d.npz")


def test_colours(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (2, 20, 24, 3)).astype(np.uint8)
    np.save(tmp_path / "one.npy", rgb[0])
    np.save(tmp_path / "many.npy", rgb)
    np.testing.assert_array_equal(frames_of(tmp_path / "one.npy")[0], rgb[0])
    np.testing.assert_array_equal(frames_of(tmp_path / "many.npy"), rgb)
    assert not open_source(tmp_path / "one.npy").is_stack
    np.testing.assert_array_equal(
        frames_of(tmp_path / "one.npy", axis=2), np.moveaxis(rgb[0], 2, 0)
    )
    with pytest.raises(SourceError, match="has colours; --window is for grey"):
        frames_of(tmp_path / "many.npy", window=(0, 9))


def test_booleans_are_black_and_white(tmp_path: Path) -> None:
    np.save(tmp_path / "b.npy", np.eye(16, dtype=bool)[None])
    np.testing.assert_array_equal(frames_of(tmp_path / "b.npy")[0], np.eye(16) * 255)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((2, 2, 16, 16), np.uint8), r"shape \[2, 2, 16, 16\]; expected"),
        (np.zeros(16), r"shape \[16\]; expected"),
        (np.zeros((2, 16, 16), complex), "complex numbers"),
        (np.zeros((16, 16), "S3"), "no numbers"),
        (np.array([[{}] * 16] * 16), "Python objects"),
        (np.zeros((4, 5000, 16), np.uint8), "16 to 4096"),
        (np.zeros((0, 16, 16), np.uint8), "0 slices"),
        (np.zeros((16, 16, 3)), r"float64 colours \[H, W, 3\]"),
    ],
)
def test_what_is_no_volume(tmp_path: Path, array: np.ndarray, words: str) -> None:
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", image=array)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(SourceError, match=words):
            open_source(tmp_path / name)


def test_a_pickle_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> object:
            return (Path(tmp_path / "evil").touch, ())

    np.save(tmp_path / "a.npy", np.array([[Evil()]]), allow_pickle=True)
    with pytest.raises(SourceError, match="Python objects"):
        open_source(tmp_path / "a.npy")
    assert not (tmp_path / "evil").exists()


def promise(shape: tuple[int, ...], dtype: str = "<f8") -> bytes:
    """The head of an `.npy` file with a few numbers behind it."""
    buffer = io.BytesIO()
    header = {"shape": shape, "fortran_order": False, "descr": dtype}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue() + bytes(64)


@pytest.mark.parametrize(
    "shape", [(1 << 40, 1 << 40), (10**30, 16, 16), (16, 4096, 4096), (-3, 16)]
)
def test_sizes_are_checked_before_anything_is_allocated(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    (tmp_path / "a.npy").write_bytes(promise(shape))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("image.npy", promise(shape))
    for name in ("a.npy", "a.npz"):
        with pytest.raises(SourceError, match=name):
            open_source(tmp_path / name)


def test_an_archive_that_unpacks_to_too_much(tmp_path: Path) -> None:
    from samedge.sources.volume import check_bytes

    with pytest.raises(SourceError, match=r"from 1000\.0 MB to 8\.6 GB; store it uncompressed"):
        check_bytes("a.npz", 1 << 33, 10**9)
    with pytest.raises(SourceError, match=r"from 1\.0 MB to 0\.4 GB; store it uncompressed"):
        check_bytes("a.npz", 4 * 10**8, 10**6)
    check_bytes("a.npz", 2 * 512**3, 10**6)
    check_bytes("a.npz", 2 * 10**9, 10**8)


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_truncated_files(tmp_path: Path, volume: np.ndarray, name: str) -> None:
    path = tmp_path / name
    np.save(path, volume) if name.endswith("y") else np.savez(path, image=volume)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(SourceError, match="is damaged"):
        list(open_source(path))


def test_a_flipped_bit_in_an_archive(tmp_path: Path, volume: np.ndarray) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, image=volume)
    data = bytearray(path.read_bytes())
    data[1500] ^= 1
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"is damaged.*\(BadZipFile\)"):
        list(open_source(path))


def test_hdf5_is_recognised_and_has_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "case0001.npy.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(200))
    with pytest.raises(NotSupportedError, match=r"HDF5 file.*h5py\.File") as caught:
        open_source(path)
    assert caught.value.exit_code == 4


def test_only_arrays_have_axes(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="--axis is for those"):
        open_source(tmp_path, axis=1)


_BASES: dict[str, bytes] = {}


def base(kind: str) -> bytes:
    if kind not in _BASES:
        buffer, array = io.BytesIO(), np.arange(512, dtype=np.int16).reshape(2, 16, 16)
        if kind == "npy":
            np.save(buffer, array)
        else:
            np.savez(buffer, image=array, label=array)
        _BASES[kind] = buffer.getvalue()
    return _BASES[kind]


@given(st.data(), st.sampled_from(["npy", "npz"]))
def test_damaged_files_end_in_a_samedge_error_or_frames(
    tmp_path: Path, data: st.DataObject, kind: str
) -> None:
    content = bytearray(base(kind))
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.one_of(st.integers(0, 130), st.integers(0, len(content) - 1)))
        content[place] = data.draw(st.integers(0, 255))
    path = tmp_path / f"fuzz.{kind}"
    path.write_bytes(content[: data.draw(st.integers(8, len(content)))])
    message = "fuzz"
    try:
        list(open_source(path))
    except SamEdgeError as error:
        message = str(error)
    assert "fuzz" in message


@given(st.text(max_size=150))
def test_any_header_text(tmp_path: Path, text: str) -> None:
    body = text.encode("utf-8", "replace")
    head = b"\x93NUMPY\x01\0" + len(body).to_bytes(2, "little") + body
    (tmp_path / "fuzz.npy").write_bytes(head + bytes(512))
    with pytest.raises(SamEdgeError, match=r"fuzz\.npy"):
        list(open_source(tmp_path / "fuzz.npy"))


def test_frames_in_time(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((5, 20, 24), np.uint8))
    source = open_source(tmp_path / "a.npy", time=True)
    assert (source.kind, source.is_loop, source.is_stack) == ("time series", True, False)
    assert [f.name for f in source] == [f"a_{k:05d}" for k in range(5)]
    for shape in ((20, 24), (1, 20, 24)):
        np.save(tmp_path / "b.npy", np.zeros(shape, np.uint8))
        with pytest.raises(SourceError, match="single slice; --time"):
            open_source(tmp_path / "b.npy", time=True)


def test_time_is_for_arrays(video: Path) -> None:
    with pytest.raises(SourceError, match="--time is for those"):
        open_source(video, time=True)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((48, 64, 3), np.float32), r"float32 colours \[H, W, 3\] \(\[48, 64, 3\]\)"),
        (np.zeros((48, 64, 4), np.uint8), r"uint8 colours \[H, W, 4\]"),
    ],
)
def test_colours_that_are_no_uint8_rgb(tmp_path: Path, array: np.ndarray, words: str) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(SourceError, match=words):
        open_source(tmp_path / "a.npy")
