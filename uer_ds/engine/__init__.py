"""The only room that imports deepspeed: process group, engine configuration, the engine itself."""

from uer_ds.engine import quiet as quiet
