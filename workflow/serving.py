"""The trained network as an MLflow model: a request holds a picture and a mask, the answer a fill.

MLflow stores this file as the model's code beside the weights, so nothing is pickled. Pictures
and masks travel as PNG files in base64, as MLflow does with every binary column.
"""

import base64
from io import BytesIO
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel
from PIL import Image, ImageOps

from pconv.errors import ImageError, PConvError
from pconv.inpainting import Inpainter

_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")


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
        known = np.asarray(_picture("mask", mask).convert("L")) >= 128
        filled = self.inpainter(np.asarray(_picture("image", image).convert("RGB")), known)
        file = BytesIO()
        Image.fromarray(filled).save(file, "PNG")
        return base64.b64encode(file.getvalue()).decode()


def _picture(column: str, file: bytes | str) -> Image.Image:
    try:
        content = base64.b64decode(file) if isinstance(file, str) else file
        image = Image.open(BytesIO(content), formats=_FORMATS)
        return ImageOps.exif_transpose(image)
    except Exception as error:  # decoders raise whatever they stumble over
        raise ImageError(
            f"{column}: not a readable picture ({type(error).__name__}); wanted a whole "
            f"{', '.join(_FORMATS)} file in base64"
        ) from error


mlflow.models.set_model(InpaintingModel())
