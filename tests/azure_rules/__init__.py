"""Azure's rules, one row each: what the rule says, where the world keeps it, which test fails without it.

`python -m tests.azure_rules --doc` prints docs/azure-rules.md; `python -m tests.azure_rules --mutants` breaks every rule in
a copy of the tree and demands that its test notices.
"""
