"""MGIE: instruction-based image editing guided by a multimodal language model. `from mgie import MGIEPipeline`."""


def __getattr__(name: str) -> type:
    if name == "MGIEPipeline":  # lazy: `import mgie` must not pay for torch
        from mgie.pipeline import MGIEPipeline

        return MGIEPipeline
    raise AttributeError(f"module 'mgie' has no attribute '{name}'")
