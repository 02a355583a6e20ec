"""The trained network as an MLflow model: a request holds a picture and a mask, the answer a fill.

MLflow stores this file as the model's code beside the weights, so nothing is pickled. Pictures
and masks travel as PNG files in base64, as MLflow does with every binary column.
"""

import base64
import binascii
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel
from PIL import Image

from pconv.errors import ImageError, PConvError
from pconv.images import read_image, read_mask
from pconv.inpainting import Inpainter
from pconv.pictures import Array


class InpaintingModel(PythonModel):
    """Fill the holes of pictures: columns ``image`` and ``mask`` in, ``image`` out."""

    def load_context(self, context: Any) -> None:
        """Load the weights that were stored with the model."""
        self.inpainter = Inpainter(weights=context.artifacts["weights"], allow_large_holes=True)

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Return a PNG file in base64 for each row.

        Args:
            context: Unused; the weights are loaded once, by `load_context`.
            model_input: ``image``, any PNG, JPEG, WebP, TIFF or BMP file, and ``mask``, white
                where known, as bytes or in base64.
            params: Unused.

        Raises:
            MlflowException: If a row can't be filled; a server answers with status 400 and the
                reason.
        """
        rows = zip(model_input["image"], model_input["mask"], strict=True)
        return pd.DataFrame({"image": [self._row(n, *row) for n, row in enumerate(rows)]})

    def _row(self, number: int, image: bytes | str, mask: bytes | str) -> str:
        try:
            return self._fill(image, mask)
        except PConvError as error:  # MLflow's own class makes it status 400 without a traceback
            raise MlflowException.invalid_parameter_value(f"row {number}: {error}") from error

    def _fill(self, image: bytes | str, mask: bytes | str) -> str:
        known = _read("mask", mask, partial(read_mask, grey=True))
        filled = self.inpainter(_read("image", image, read_image), known)
        file = BytesIO()
        Image.fromarray(filled).save(file, "PNG")
        return base64.b64encode(file.getvalue()).decode()


def _read(column: str, file: bytes | str, read: Callable[[Path], Array]) -> Array:
    """Read a picture as the pipeline does: by Pillow alone, 16-bit grey would come out white."""
    with TemporaryDirectory(prefix="pconv-") as folder:
        path = Path(folder, column)
        try:
            path.write_bytes(base64.b64decode(file) if isinstance(file, str) else file)
            return read(path)
        except binascii.Error as error:
            raise ImageError(f"{column}: not base64 ({error})") from error
        except PConvError as error:
            raise ImageError(str(error).replace(str(path), column)) from error


mlflow.models.set_model(InpaintingModel())
