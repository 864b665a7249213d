"""Rules without a file, from command-line options."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ckpttool.errors import MappingError, Problem
from ckpttool.mapping.language.patterns import (
    Matcher,
    Pattern,
    PatternError,
    Template,
    escape,
    prefix_atoms,
)
from ckpttool.mapping.language.regexes import MARK, RegexPattern
from ckpttool.mapping.language.ruleset import Rule, RuleSet

_LABEL = "the command line"


def quick_rules(
    *,
    add_prefix: str = "",
    strip_prefix: str = "",
    rename: Iterable[str] = (),
    drop: Iterable[str] = (),
    slots: str | None = None,
    averages: str | None = None,
    unmatched: str | None = None,
) -> RuleSet:
    """``drop`` patterns, then ``rename`` (``old=new``), then prefixes.

    Prefixes are plain text and need not end in a slash.  A name that has ``strip_prefix`` loses
    it; every name gets ``add_prefix``.
    """
    rules: list[Rule] = []
    problems: list[Problem] = []

    def add(label: str, source: str, target: str | None) -> None:
        try:
            pattern = any_pattern(source, {})
            template = None if target is None else Template(target)
            lacking = template.lacking(pattern) if template else None
            if lacking:
                problems.append(Problem("MAP005", f"{lacking} is not in the old name", label))
            rules.append(Rule(len(rules), label, label, pattern, template))
        except PatternError as error:
            problems.append(Problem("MAP004", error.message, label))

    for source in drop:
        add(f"--drop {source}", source, None)
    for pair in rename:
        source, mark, new = _split_pair(pair)
        if not mark:
            found = f"--rename {pair}"
            problems.append(
                Problem("MAP004", "a rename is old=new", found, hint="--rename a/w=b/w")
            )
            continue
        add(f"--rename {pair}", source, new)
    if strip_prefix:
        label = f"--strip-prefix {strip_prefix}"
        rules.append(prefix_rule(len(rules), label, strip_prefix, add_prefix))
    if add_prefix:
        label = f"--add-prefix {add_prefix}"
        rules.append(prefix_rule(len(rules), label, "", add_prefix, bool(rules)))
    if problems:
        raise MappingError(*problems)
    return RuleSet(
        rules, label=_LABEL, slots=slots, averages=averages, unmatched=unmatched or "keep"
    )


def prefix_rule(number: int, label: str, old: str, new: str, optional: bool = False) -> Rule:
    """The rule that puts the text ``new`` in the place of the beginning ``old``."""
    text = f"{escape(old)}**" if old else "**"
    pattern = Pattern(text, atoms=prefix_atoms(old))
    template = Template("**", atoms=prefix_atoms(new))
    return Rule(number, label, label, pattern, template, optional)


def any_pattern(text: str, where: dict[str, tuple[str, ...]]) -> Matcher:
    """A pattern or, after ``re:``, a regular expression; raises :class:`PatternError`."""
    return RegexPattern(text, where) if text.startswith(MARK) else Pattern(text, where)


def _split_pair(pair: str) -> tuple[str, bool, str]:
    """Old and new of ``old=new``; ``\\=`` is an equals sign in a name."""
    found = re.match(r"((?:\\.|[^\\=])*)=(.*)\Z", pair, re.DOTALL)
    return (found[1], True, found[2]) if found else (pair, False, "")
