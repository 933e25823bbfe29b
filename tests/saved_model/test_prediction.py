"""Image files of every size and colour mode reach the model as it was trained, or are refused by name."""

import hashlib
import io
import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from hpo.errors import FileError, UsageError
from hpo.saved_model.prediction import predict, predict_files, read_image

# Keras 3.15 turns a variable into an array by a protocol that NumPy 2 wants extended; saving does it.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)

GREY, COLOUR = (28, 28, 1), (28, 28, 3)
# A light square, left of the middle, on black: which way is up, left and inverted can be told from it.
PIXELS = np.zeros((28, 28), np.uint8)
PIXELS[4:24, 2:14] = 255


def picture(mode):
    """PIXELS in one of Pillow's modes; where the mode has transparency, the black is a transparent white."""
    grey = Image.fromarray(PIXELS)
    if mode in ("LA", "RGBA", "PA"):
        alpha = Image.fromarray(PIXELS)
        white = Image.new("L" if mode == "LA" else "RGB", (28, 28), "white")
        white.putalpha(alpha)
        return white
    if mode == "I;16":
        return Image.fromarray(PIXELS.astype(np.uint16) * 257)
    if mode == "I":
        return Image.fromarray(PIXELS.astype(np.int32) * 257)
    return grey.convert(mode)


@pytest.mark.parametrize("shape", [pytest.param(GREY, id="grey"), pytest.param(COLOUR, id="colour")])
@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        *((mode, "png") for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
        *((mode, "tif") for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I")),
        *((mode, "jpg") for mode in ("L", "RGB", "CMYK")),
        *((mode, "webp") for mode in ("RGB", "RGBA")),
        *((mode, "gif") for mode in ("P", "RGBA")),
        *((mode, "bmp") for mode in ("1", "L", "P", "RGB")),
        *((mode, "ppm") for mode in ("1", "L", "RGB", "I")),
    ],
)
def test_reads_every_mode(tmp_path, mode, suffix, shape):
    """The same picture in any mode and format becomes the same pixels, transparent being black."""
    path = tmp_path / f"a.{suffix}"
    picture(mode).save(path, **{"quality": 100} if suffix in ("jpg", "webp") else {})
    image = read_image(path, shape, invert=False)
    assert image.shape == shape
    assert image.dtype == np.uint8
    np.testing.assert_allclose(image.astype(int), np.broadcast_to(PIXELS[..., None], shape), atol=8)


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_a_transparent_colour_is_black(tmp_path, mode):
    """PNG can declare one colour transparent without an alpha channel."""
    dark_on_white = Image.fromarray(255 - PIXELS).convert(mode)
    white = dark_on_white.getpixel((0, 0))
    light = Image.fromarray(np.where(PIXELS == 0, 255, 200).astype(np.uint8)).convert(mode)
    light.save(tmp_path / "a.png", transparency=light.getpixel((0, 0)) if mode == "P" else white)
    image = read_image(tmp_path / "a.png", GREY, invert=False)
    assert image[0, 0, 0] == 0
    assert image[10, 10, 0] == pytest.approx(200, abs=8)


def test_invert(tmp_path):
    """Inverted, a dark object on white, or on nothing, becomes the light one on black that models learn."""
    Image.fromarray(255 - PIXELS).save(tmp_path / "white.png")
    black = Image.new("L", (28, 28), 0)
    black.putalpha(Image.fromarray(PIXELS))
    black.save(tmp_path / "clear.png")
    for name in ("white.png", "clear.png"):
        np.testing.assert_array_equal(read_image(tmp_path / name, GREY, invert=True)[..., 0], PIXELS)


def test_turns_upright(tmp_path):
    """A photograph taken sideways is turned by its EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise by a quarter to see it upright
    Image.fromarray(np.rot90(PIXELS)).save(tmp_path / "a.jpg", exif=exif, quality=100)
    image = read_image(tmp_path / "a.jpg", GREY, invert=False)[..., 0]
    np.testing.assert_allclose(image.astype(int), PIXELS, atol=8)


@pytest.mark.parametrize(
    ("size", "rows", "columns"),
    [
        pytest.param((400, 100), (10, 17), (0, 27), id="wide"),
        pytest.param((5, 20), (0, 27), (10, 16), id="tall-and-small"),
        pytest.param((3000, 1), (13, 14), (0, 27), id="a-line"),
        pytest.param((1, 1), (0, 27), (0, 27), id="one-pixel"),
    ],
)
def test_keeps_proportions(tmp_path, size, rows, columns):
    """Another shape is scaled to fit, centred, and the rest takes the shade of the border."""
    frame = np.full(size[::-1], 255, np.uint8)
    frame[1:-1, 1:-1] = 100
    frame[:1, :1] = 255
    Image.fromarray(frame).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png", GREY, invert=False)[..., 0]
    assert image.shape == (28, 28)
    assert image[0, 0] == image[-1, -1] or size == (1, 1)
    inside = np.argwhere(image < 240)
    if min(size) > 2:
        assert rows[0] <= inside[:, 0].min() <= inside[:, 0].max() <= rows[1]
        assert columns[0] <= inside[:, 1].min() <= inside[:, 1].max() <= columns[1]


def png_header(width, height):
    """A PNG that claims a size and holds nothing."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "it is no image", id="empty"),
        pytest.param(b"a text, not an image", "it is no image, .* Save it again as PNG or JPEG", id="text"),
        pytest.param(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "it is no image", id="postscript"),
        pytest.param(png_header(10_500, 10_000), "at most 100,000,000 pixels, .* has 10500 x 10000", id="large"),
        pytest.param(png_header(2**30, 2**30), "DecompressionBombError", id="bomb"),
    ],
)
def test_refuses_what_is_no_image(tmp_path, content, message):
    """A file that is no image, or claims to be an enormous one, is refused by name in one line."""
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(FileError, match=message) as caught:
        read_image(path, GREY, invert=False)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_refuses_unknown_ranges(tmp_path):
    """Pixels whose white is unknown are refused rather than guessed at."""
    Image.fromarray(PIXELS.astype(np.float32)).save(tmp_path / "f.tif")
    Image.fromarray(PIXELS.astype(np.int32) * 10_000).save(tmp_path / "i.tif")
    with pytest.raises(FileError, match=r"f\.tif .*floating-point"):
        read_image(tmp_path / "f.tif", GREY, invert=False)
    with pytest.raises(FileError, match=r"i\.tif .*more than 16 bits"):
        read_image(tmp_path / "i.tif", GREY, invert=False)


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tif", "webp", "ppm"])
def test_refuses_a_truncated_image(tmp_path, suffix):
    """A file cut in any place is refused or, cut behind its last pixel, read whole; never a traceback."""
    buffer = io.BytesIO()
    random = np.random.default_rng(0).integers(0, 256, (28, 28, 3), np.uint8)
    Image.fromarray(random).save(buffer, {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix))
    whole = buffer.getvalue()
    path = tmp_path / f"a.{suffix}"
    refused = 0
    lengths = range(0, len(whole), max(1, len(whole) // 40))
    for length in lengths:
        path.write_bytes(whole[:length])
        try:
            read_image(path, COLOUR, invert=False)
        except FileError as error:
            assert str(path) in str(error)  # noqa: PT017 - both outcomes are right for the last bytes
            refused += 1
    assert refused >= len(lengths) - 2


def test_refuses_a_missing_image(tmp_path):
    """A path that is wrong is said to be."""
    with pytest.raises(FileError, match=r"missing\.png does not"):
        read_image(tmp_path / "missing.png", GREY, invert=False)


@pytest.fixture(scope="module")
def left_or_right():
    """A model of four classes: light at the left, at the right, at the top, at the bottom."""
    import keras

    half = np.zeros((28, 28, 4), np.float32)
    half[:, :14, 0] = half[:, 14:, 1] = half[:14, :, 2] = half[14:, :, 3] = 1 / 28
    dense = keras.layers.Dense(4, activation="softmax")
    model = keras.Sequential([keras.Input(GREY), keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), dense])
    dense.set_weights([half.reshape(-1, 4), np.zeros(4, np.float32)])
    return model


@pytest.fixture
def photos(tmp_path):
    """Paths of PIXELS light on dark, dark on light, and of a blank picture."""
    named = {"dark.png": PIXELS, "light.png": 255 - PIXELS, "blank.png": np.zeros((9, 9), np.uint8)}
    for name, pixels in named.items():
        Image.fromarray(pixels).save(tmp_path / name)
    return [tmp_path / name for name in named]


def test_predicts(left_or_right, photos):
    """Each image gets its class, the three best, and a warning where it looks inverted or blank."""
    classes = ("left", "right", "top", "bottom")
    (dark, light, blank), errors = predict(left_or_right, photos, classes, invert=False)
    assert errors == []
    assert (dark.path, dark.class_name, dark.warning) == (photos[0], "left", None)
    assert dark.top[0] == (dark.class_name, dark.probability)
    assert len(dark.top) == 3
    assert dark.top[0][1] > dark.top[1][1] >= dark.top[2][1]
    assert "light objects on black: try --invert" in light.warning
    assert light.class_name == "right"
    assert "All one shade" in blank.warning
    assert json.loads(json.dumps(dark.as_json()))["path"] == str(photos[0])

    (dark, light, _), _ = predict(left_or_right, photos, classes, invert=True)
    assert (light.class_name, light.warning) == ("left", None)
    assert "leave out --invert" in dark.warning


def test_predicts_nothing_for_no_images(left_or_right):
    """No images, no predictions."""
    assert predict(left_or_right, [], "abcd", invert=False) == ([], [])


def test_a_bad_picture_does_not_stop_the_others(left_or_right, photos, tmp_path):
    """Each that cannot be used is named with its reason; the rest is classified, in order."""
    (tmp_path / "text.png").write_text("no image")
    paths = [photos[0], tmp_path / "text.png", tmp_path / "missing.png", photos[1]]
    predictions, errors = predict(left_or_right, paths, ("left", "right", "top", "bottom"), invert=False)
    assert [(each.path, each.class_name) for each in predictions] == [(photos[0], "left"), (photos[1], "right")]
    assert ["text.png" in str(errors[0]), "missing.png does not" in str(errors[1])] == [True, True]
    assert predict(left_or_right, paths[1:2], "abcd", invert=False)[0] == []


def test_no_warning_for_colour(photos):
    """A model of colour images is not expected to know black backgrounds only."""
    import keras

    model = keras.Sequential([keras.Input(COLOUR), keras.layers.GlobalAveragePooling2D(), keras.layers.Softmax()])
    assert predict(model, photos[1:2], "abc", invert=False)[0][0].warning is None


@pytest.mark.parametrize("shape", [(28, 28, 2), (None, None, 1)])
def test_refuses_a_model_of_other_images(photos, shape):
    """A model whose images are neither grey nor RGB, or of no size, is refused with what it takes."""
    import keras

    model = keras.Sequential([keras.Input(shape), keras.layers.GlobalAveragePooling2D(), keras.layers.Softmax()])
    with pytest.raises(UsageError, match=r"this one takes \(height, width, channels\) = \("):
        predict(model, photos, "ab", invert=False)


def test_predicts_files(left_or_right, photos, tmp_path):
    """A saved model is checked by its card and names the classes on it; without a card they are numbers."""
    path = tmp_path / "best.keras"
    left_or_right.save(path)
    assert [p.class_name for p in predict_files(path, photos[:1], invert=False)[0]] == ["0"]
    card = dict.fromkeys(("study", "trial", "params", "metrics", "fingerprint", "versions", "input"))
    card |= {"outputs": "probabilities", "code": {}}
    card |= {"dataset": {"name": "digits"}, "classes": ["left", "right", "top", "bottom"]}
    card["files"] = {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}
    path.with_suffix(".card.json").write_text(json.dumps(card))
    assert [p.class_name for p in predict_files(path, photos[:1], invert=False)[0]] == ["left"]
    path.with_suffix(".card.json").write_text(json.dumps(card | {"files": {path.name: "0"}}))
    with pytest.raises(FileError, match="must be the one its card describes"):
        predict_files(path, photos, invert=False)
