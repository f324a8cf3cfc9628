"""The rule language: from YAML, as people write it, to the rules that the core compiles.

`dialect` reads rules, `criteria` says what they can speak of, `matchers` and `moments` read what is compared, `names`
resolves who and what is meant, and `who` holds every allow to naming somebody. What a rule then means is decided in
one place, `crates/core`.
"""

from ostiary.policy.dialect import read_policies, read_policy
from ostiary.policy.names import Names

__all__ = ["Names", "read_policies", "read_policy"]
