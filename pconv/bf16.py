"""Whether this CPU computes in bfloat16, or emulates it by way of float32."""

import torch


def is_bf16_emulated() -> bool:
    """Return whether convolutions in bfloat16 go a number at a time: many times slower.

    So it is without AVX-512's or AMX's instructions for it, or where ``ONEDNN_MAX_CPU_ISA`` keeps
    oneDNN from them (`benchmarks/README.md`).
    """
    has_onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return bool(has_onednn and not torch.ops.mkldnn._is_mkldnn_bf16_supported())
