"""A picture of some training images with their classes."""

from pathlib import Path

from hpo.datasets.dataset import Dataset
from hpo.files.writing import replacing

_IMAGE, _MARGIN, _GAP, _FONT = 140, 24, 8, 18  # pixels
_INK = "#333333"
_SOFTWARE = "hpo data show"  # under PNG's keyword for the program that made a picture


def grid(dataset: Dataset, path: Path, *, rows: int = 3, columns: int = 3) -> None:
    """Write a PNG of the first ``rows * columns`` training images, enlarged, each above its class name."""
    from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

    count = rows * columns
    images, labels = dataset.train.images[:count], dataset.train.labels[:count]
    # Grey or colour; if there is another number of channels, the first is shown.
    pixels = images if images.shape[-1] in (3, 4) else images[..., 0]
    names = [dataset.classes[label] for label in labels]

    height, width, _ = dataset.input_shape
    scale = max(1, _IMAGE // max(height, width))
    font = ImageFont.load_default(size=_FONT)
    cell_width = max(scale * width, *(round(font.getlength(name)) for name in names))
    cell_height = scale * height + _GAP + _FONT
    size = columns * (cell_width + _MARGIN) + _MARGIN, rows * (cell_height + _MARGIN) + _MARGIN
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for index, (image, name) in enumerate(zip(pixels, names, strict=True)):
        row, column = divmod(index, columns)
        middle = _MARGIN + column * (cell_width + _MARGIN) + cell_width // 2
        top = _MARGIN + row * (cell_height + _MARGIN)
        large = Image.fromarray(image).resize((scale * width, scale * height), Image.Resampling.NEAREST)
        sheet.paste(large, (middle - large.width // 2, top))
        draw.text((middle, top + large.height + _GAP), name, fill=_INK, font=font, anchor="ma")
    made_by = PngImagePlugin.PngInfo()
    made_by.add_text("Software", _SOFTWARE)
    with replacing(path) as temporary:
        sheet.save(temporary, format="PNG", pnginfo=made_by)


def is_grid(path: Path) -> bool:
    """Whether a file is a picture that `grid` wrote."""
    from PIL import Image

    try:
        with Image.open(path, formats=["PNG"]) as picture:
            return picture.info.get("Software") == _SOFTWARE
    except (OSError, ValueError, SyntaxError):  # Pillow raises SyntaxError if a PNG is broken
        return False
