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
from mlflow.pyfunc import PythonModel
from PIL import Image

from pconv.inpainting import Inpainter


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
        """
        rows = zip(model_input["image"], model_input["mask"], strict=True)
        return pd.DataFrame({"image": [self._fill(image, mask) for image, mask in rows]})

    def _fill(self, image: bytes | str, mask: bytes | str) -> str:
        known = np.asarray(_picture(mask).convert("L")) >= 128
        filled = self.inpainter(np.asarray(_picture(image).convert("RGB")), known)
        file = BytesIO()
        Image.fromarray(filled).save(file, "PNG")
        return base64.b64encode(file.getvalue()).decode()


def _picture(file: bytes | str) -> Image.Image:
    content = base64.b64decode(file) if isinstance(file, str) else file
    return Image.open(BytesIO(content), formats=("PNG", "JPEG", "WEBP", "TIFF", "BMP"))


mlflow.models.set_model(InpaintingModel())
