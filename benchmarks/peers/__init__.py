"""The peers of ``benchmarks/peers.py``: one short script a library, all with the contract of ``_contract``."""
