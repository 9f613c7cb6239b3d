"""Small trees of files in the layouts of published data sets."""

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

CARS = ["AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Ram C/V Cargo Van Minivan 2012", "smart fortwo 2012"]


def picture(file: Path, size: tuple[int, int] = (60, 40)) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(file)


def lines(file: Path, *rows: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")


def cub(root: Path) -> Path:
    """Two birds: one training picture and one test picture of the first, one test picture of the second."""
    lines(root / "images.txt", "1 001.Gull/a.jpg", "2 001.Gull/b.jpg", "3 002.Wren/c.jpg")
    lines(root / "image_class_labels.txt", "1 1", "2 1", "3 2")
    lines(root / "train_test_split.txt", "1 1", "2 0", "3 0")
    lines(root / "bounding_boxes.txt", "1 1.0 2.0 3.0 4.0", "2 10.0 5.0 20.0 30.0", "3 0.0 0.0 60.0 40.0")
    lines(root / "classes.txt", "1 001.Gull", "2 002.Wren")
    for name in ("001.Gull/a", "001.Gull/b", "002.Wren/c"):
        picture(root / "images" / f"{name}.jpg")
    return root


def four_birds(root: Path) -> Path:
    """CUB without its split of the pictures: four birds, one picture each."""
    lines(root / "images.txt", *(f"{i} 00{i}.Bird/{i}.jpg" for i in range(1, 5)))
    lines(root / "image_class_labels.txt", *(f"{i} {i}" for i in range(1, 5)))
    lines(root / "bounding_boxes.txt", *(f"{i} 1.0 2.0 3.0 4.0" for i in range(1, 5)))
    lines(root / "classes.txt", *(f"{i} 00{i}.Bird" for i in range(1, 5)))
    for i in range(1, 5):
        picture(root / f"images/00{i}.Bird/{i}.jpg")
    return root


def annotation(file: Path, *things: tuple[str, int, int, int, int]) -> None:
    sides = ("xmin", "ymin", "xmax", "ymax")
    objects = "".join(
        f"<object><name>{name}</name><bndbox>"
        + "".join(f"<{side}>{value}</{side}>" for side, value in zip(sides, corners, strict=True))
        + "</bndbox></object>"
        for name, *corners in things
    )
    lines(file, f"<annotation><size><width>60</width></size>{objects}</annotation>")


def ilsvrc(root: Path, *, kaggle: bool = True) -> Path:
    lines(root / "LOC_synset_mapping.txt", "n02 tabby cat", "n01 tench, Tinca tinca")
    notes = root / ("ILSVRC/Annotations/CLS-LOC/val" if kaggle else "bbox/val")
    annotation(notes / "ILSVRC2012_val_00000001.xml", ("n02", 1, 2, 30, 31), ("n02", 5, 6, 7, 8))
    annotation(notes / "ILSVRC2012_val_00000002.xml", ("n01", 3, 4, 50, 39))
    annotation(notes / "ILSVRC2012_val_00000003.xml")
    for number, wnid in ((1, "n02"), (2, "n01"), (3, "n01")):
        folder = root / "ILSVRC/Data/CLS-LOC/val" if kaggle else root / "val" / wnid
        picture(folder / f"ILSVRC2012_val_0000000{number}.JPEG")
    return root


def wsol(root: Path) -> Path:
    lines(root / "test" / "image_ids.txt", "val/a.JPEG", "val/b.JPEG")
    lines(root / "test" / "class_labels.txt", "val/a.JPEG,7", "val/b.JPEG,2")
    lines(root / "test" / "localization.txt", "val/a.JPEG,1,2,3,4", "val/a.JPEG,5,6,7,8", "val/b.JPEG,0,0,9,9")
    picture(root / "val/a.JPEG")
    picture(root / "val/b.JPEG")
    return root


def boxes_csv(root: Path) -> Path:
    lines(root / "boxes.csv", "path,class,x0,y0,x1,y1,extra", "p/a.png,3,1.5,2,3,4,x", "p/a.png,3,5,6,7,8,x")
    picture(root / "p/a.png")
    return root


def structs(**columns: list[object]) -> np.ndarray:
    """A 1 x n struct array, every field an object, as the published files hold."""
    rows = np.zeros((1, len(next(iter(columns.values())))), dtype=[(name, object) for name in columns])
    for name, values in columns.items():
        rows[name][0, :] = values
    return rows


def corners(n: int) -> dict[str, list[object]]:
    sides = {"bbox_x1": 1, "bbox_y1": 2, "bbox_x2": 30, "bbox_y2": 40}
    return {side: [np.array([[value + i]], dtype=np.uint16) for i in range(n)] for side, value in sides.items()}


def numbers(*values: int) -> list[object]:
    return [np.array([[value]], dtype=np.uint8) for value in values]


def names() -> np.ndarray:
    return np.array([CARS], dtype=object)


def cars_old(root: Path) -> Path:
    paths = [f"car_ims/00000{i}.jpg" for i in range(1, 6)]
    annotations = structs(
        relative_im_path=list(paths), **corners(5), **{"class": numbers(1, 2, 3, 4, 3), "test": numbers(0, 0, 0, 1, 1)}
    )
    root.mkdir(parents=True, exist_ok=True)
    savemat(root / "cars_annos.mat", {"annotations": annotations, "class_names": names()})
    for path in paths:
        picture(root / path)
    return root


def cars_devkit(root: Path, *, nested: bool = False, folder: str = "devkit") -> Path:
    (root / folder).mkdir(parents=True, exist_ok=True)
    savemat(root / folder / "cars_meta.mat", {"class_names": names()})
    for part, name, classes in (("train", "", (1, 3)), ("test", "_withlabels", (2, 4, 4))):
        files: list[object] = [f"0000{i}.jpg" for i in range(1, len(classes) + 1)]
        annotations = structs(**corners(len(classes)), **{"class": numbers(*classes), "fname": files})
        savemat(root / folder / f"cars_{part}_annos{name}.mat", {"annotations": annotations})
        for file in files:
            picture(root / f"cars_{part}" / (f"cars_{part}/{file}" if nested else str(file)))
    return root


def cars_csv(root: Path) -> Path:
    lines(root / "names.csv", *CARS)
    lines(root / "anno_train.csv", "00001.jpg,1,2,30,40,3", "00002.jpg,2,3,31,41,1")
    lines(root / "anno_test.csv", "00001.jpg,1,2,30,40,4")
    picture(root / "car_data/car_data/train/Ram C-V Cargo Van Minivan 2012/00001.jpg")
    picture(root / "car_data/car_data/train/AM General Hummer SUV 2000/00002.jpg")
    picture(root / "car_data/car_data/test/smart fortwo 2012/00001.jpg")
    return root


def sop(root: Path) -> Path:
    header = "image_id class_id super_class_id path"
    lines(root / "Ebay_train.txt", header, "1 1 1 bicycle_final/1_0.JPG", "2 1 1 bicycle_final/1_1.JPG")
    lines(root / "Ebay_test.txt", header, "3 11320 1 chair_final/2_0.JPG", "4 11319 2 chair_final/3_0.JPG")
    for name in ("bicycle_final/1_0", "bicycle_final/1_1", "chair_final/2_0", "chair_final/3_0"):
        picture(root / f"{name}.JPG")
    return root


def folders(root: Path, *classes: str) -> Path:
    for name in classes or ("b", "a", "c"):
        picture(root / name / "1.png")
        picture(root / name / "2.png")
    lines(root / ".hidden/notes.txt", "no class")
    return root
