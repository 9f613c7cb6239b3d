"""Small trees of files in the layouts of published data sets."""

from pathlib import Path

from PIL import Image


def picture(file: Path, size: tuple[int, int] = (60, 40)) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(file)


def lines(file: Path, *rows: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
