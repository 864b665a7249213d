"""Rules: compiled from a document, or from command-line options."""

from __future__ import annotations

from ckpttool.mapping.language.compiling import compile_rules
from ckpttool.mapping.language.quick import quick_rules
from ckpttool.mapping.language.ruleset import Rule, RuleSet, match

__all__ = ["Rule", "RuleSet", "compile_rules", "match", "quick_rules"]
