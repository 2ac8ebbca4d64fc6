"""`python -m uer_ds` is `uer-ds`."""

from uer_ds.cli.main import enter

enter()
