"""Checkpoints from one format to another: UER, Hugging Face, safetensors, DeepSpeed."""

from uer_ds.convert.converter import ConversionReport, convert

__all__ = ["ConversionReport", "convert"]
