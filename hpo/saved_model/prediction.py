"""Image files of any size and colour mode, read, scaled to a saved model's input, and classified by it."""

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from hpo.errors import FileError, UsageError
from hpo.files.reading import open_file, reading
from hpo.saved_model import model_file
from hpo.saved_model.evaluation import class_names
from hpo.saved_model.model_card import verify
from hpo.trial.measures import image_shape, probabilities

if TYPE_CHECKING:
    import keras

# Formats that Pillow decodes itself; without a list it would start Ghostscript for an EPS file.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_LARGEST = 100_000_000  # pixels; 300 MB as RGB, and more than a phone's photo has
_LIGHT = 127  # of 255; a border above this is light


@dataclass(frozen=True)
class Prediction:
    """The most probable class of one image.

    Attributes:
        path: the image file.
        class_name: the most probable class.
        probability: its probability.
        top: the three most probable classes with their probabilities, most probable first.
        warning: why the prediction may be meaningless, and what to do; None if nothing is wrong.
    """

    path: Path
    class_name: str
    probability: float
    top: tuple[tuple[str, float], ...]
    warning: str | None

    def as_json(self) -> dict[str, Any]:
        """Plain values that ``json.dumps`` takes; the keys are the attributes."""
        return asdict(self) | {"path": str(self.path)}


def predict_files(
    model_path: Path, image_paths: Sequence[Path], *, invert: bool, code: Path | None = None
) -> tuple[list[Prediction], list[FileError]]:
    """Check and load a saved model, and classify image files; the class names are those of the model's card.

    Args:
        code: the file that registers the model's own layers, if it is not where the card says.

    Returns:
        A prediction for each image that can be read, in their order, and an error for each of the others.

    Raises:
        FileError: the model, its card or its code cannot be used.
        UsageError: the model does not classify images, or has other classes than its card.
    """
    card = verify(model_path)
    model = model_file.load(model_path, card, code)
    return predict(
        model, image_paths, class_names(model, card), invert=invert, outputs=card["outputs"] if card else None
    )


def predict(
    model: "keras.Model", paths: Sequence[Path], classes: Sequence[str], *, invert: bool, outputs: str | None = None
) -> tuple[list[Prediction], list[FileError]]:
    """Classify image files, in the given order.

    Args:
        model: takes pixels (n, height, width, 1 or 3) from 0 to 255.
        paths: PNG, JPEG, GIF (its first picture), BMP, TIFF, WebP or PPM files.
        classes: the k class names, in label order.
        invert: swap light and dark, for dark objects on a light background.
        outputs: the kind of the model's outputs, one of ``hpo.trial.outputs.KINDS``; None to find it out.

    Returns:
        A prediction for each image that can be read, and an error for each file that is missing, damaged, too large
        or of another kind.

    Raises:
        UsageError: the model does not take such images, or does not have k outputs.
    """
    height, width, channels = image_shape(model)
    if height is None or width is None or channels not in (1, 3):
        raise UsageError(
            "To classify files, a model must take grey or RGB images of one size, but this one takes "
            f"(height, width, channels) = {(height, width, channels)}. Give its keras.Input that shape."
        )
    images: dict[int, NDArray[np.uint8]] = {}
    errors = []
    for index, path in enumerate(paths):
        try:
            images[index] = read_image(path, (height, width, channels), invert=invert)
        except FileError as error:
            errors.append(error)
    if not images:
        return [], errors
    given = probabilities(model, np.stack(list(images.values())), classes, outputs)
    predictions = [
        _prediction(paths[index], row, classes, _warning(image, invert=invert))
        for (index, image), row in zip(images.items(), given, strict=True)
    ]
    return predictions, errors


def read_image(path: Path, shape: tuple[int, int, int], *, invert: bool) -> NDArray[np.uint8]:
    """An image file as input of a model, (height, width, channels) uint8.

    The image is turned upright by its EXIF orientation and scaled to fit; it keeps its proportions, and the rest is
    filled with the median of its border. Transparent parts become black, the background of these data sets, also if
    ``invert`` swaps light and dark.

    Raises:
        FileError: the file is missing, damaged, larger than 100 million pixels or not an image.
    """
    height, width, channels = shape
    mode = "L" if channels == 1 else "RGB"
    remedy = f"Save it again as PNG or JPEG ({', '.join(_FORMATS)} are read)."
    rule = "An image must be whole and of a known kind"
    with open_file(path) as stream, reading(path, remedy, rule=rule), warnings.catch_warnings():
        # The size is checked below, before anything is decoded, against one limit; Pillow has two. Its other warnings,
        # such as one about broken EXIF, do not concern the pixels.
        warnings.simplefilter("ignore")
        try:
            image = Image.open(stream, formats=_FORMATS)
        except UnidentifiedImageError:
            raise ValueError("it is no image, or of another kind") from None  # Pillow's message shows an object
        with image:
            if image.width * image.height > _LARGEST:
                raise FileError(
                    f"An image must have at most {_LARGEST:,} pixels, but {path} has {image.width} x "
                    f"{image.height}. Scale it down; the model sees {width} x {height}."
                )
            picture = _flattened(ImageOps.exif_transpose(image), backdrop=255 if invert else 0).convert(mode)
    if invert:
        picture = ImageOps.invert(picture)
    return _fitted(np.asarray(picture), height, width, mode).reshape(shape)


def _flattened(image: Image.Image, *, backdrop: int) -> Image.Image:
    """The image with 8 bits per channel and without transparency."""
    if image.mode.startswith("I"):
        # Pillow's own conversion limits 16-bit values to 255, which makes nearly every pixel white.
        pixels = np.asarray(image).astype(np.int64)
        if pixels.min() < 0 or pixels.max() > 0xFFFF:
            raise ValueError("pixels of more than 16 bits, whose white is unknown")
        return Image.fromarray((pixels // 257).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("floating-point pixels, whose white is unknown")
    if not image.has_transparency_data:
        return image.convert("RGB")
    colours = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", colours.size, (backdrop,) * 3 + (255,)), colours)


def _border(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The outermost pixels of (height, width[, channels]), (n[, channels])."""
    return np.concatenate([pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]])


def _fitted(pixels: NDArray[np.uint8], height: int, width: int, mode: str) -> NDArray[np.uint8]:
    if pixels.shape[:2] == (height, width):
        return pixels
    scale = min(height / pixels.shape[0], width / pixels.shape[1])
    size = tuple(max(1, round(n * scale)) for n in (pixels.shape[1], pixels.shape[0]))
    scaled = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    fill = np.median(_border(pixels), axis=0).astype(int)
    canvas = Image.new(mode, (width, height), tuple(fill.reshape(-1).tolist()))
    canvas.paste(scaled, ((width - size[0]) // 2, (height - size[1]) // 2))
    return np.asarray(canvas)


def _warning(image: NDArray[np.uint8], *, invert: bool) -> str | None:
    """Why the prediction for ``image``, as the model gets it, may be meaningless; None if nothing is wrong."""
    if image.min() == image.max():
        return "All one shade: the prediction means nothing. " + (
            "Leave out --invert." if invert else "If it is drawn in black, try --invert."
        )
    # MNIST, Fashion-MNIST and digits show light objects on black; colour photographs have no such rule. For none of
    # the 20,000 test images of the first two there is a warning, and if they are inverted there is one for each.
    if image.shape[2] == 1 and np.median(_border(image)) > _LIGHT:
        remedy = "leave out --invert" if invert else "try --invert"
        return f"The border is light, but the model learned light objects on black: {remedy}."
    return None


def _prediction(path: Path, row: NDArray[np.float64], classes: Sequence[str], warning: str | None) -> Prediction:
    top = tuple((classes[i], float(row[i])) for i in np.argsort(-row, kind="stable")[:3])
    return Prediction(path, *top[0], top=top, warning=warning)
