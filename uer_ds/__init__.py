"""uer_ds: pre-train, fine-tune, convert and run the models of the UER zoo with DeepSpeed."""

__version__ = "0.1.0"
