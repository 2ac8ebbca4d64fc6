"""The only room that imports deepspeed: process group, engine configuration, the engine itself."""
