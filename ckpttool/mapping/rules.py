"""Rules compiled from a document, or from command-line options, and the index that finds them.

A hundred thousand names against two hundred rules must not be twenty million matches: rules are
found by the literal text that their names begin or end with.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ckpttool.errors import MappingError, Problem
from ckpttool.mapping.document import Document, RuleNode, Scalar, Text
from ckpttool.mapping.patterns import (
    Caught,
    Matcher,
    Pattern,
    PatternError,
    Template,
    escape,
    prefix_atoms,
)
from ckpttool.mapping.regexes import MARK, RegexPattern
from ckpttool.names import nearest

_PARAMETER = re.compile(r"\\.|\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})", re.DOTALL)
_QUICK = "the command line"


class Rule(NamedTuple):
    """One compiled rule; ``template`` is None where it drops.

    ``where`` is its place (``maps/bert.yaml:14:5``) and ``text`` what it says.  An ``optional``
    rule may match nothing.
    """

    number: int
    where: str
    text: str
    pattern: Matcher
    template: Template | None
    optional: bool = False

    @property
    def place(self) -> str:
        """Place and pattern, as a message shows it."""
        if self.where == self.text:
            return self.text
        start = "from: " + self.pattern.text if self.text.startswith("from: ") else self.text
        return f"{self.where}   {start}"


class RuleSet:
    """Compiled rules and policies.  ``label`` names the mapping in messages."""

    def __init__(
        self,
        rules: Sequence[Rule],
        *,
        label: str,
        slots: str = "follow",
        averages: str | None = None,
        unmatched: str = "error",
        assumes: Mapping[str, Scalar] | None = None,
    ) -> None:
        self.rules = tuple(rules)
        self.label = label
        self.slots = slots
        self.averages = averages
        self.unmatched = unmatched
        self.assumes: Mapping[str, Scalar] = assumes or {}
        self._by_name: dict[str, list[int]] = {}
        self._by_prefix: dict[str, list[int]] = {}
        self._by_suffix: dict[str, list[int]] = {}
        for rule in self.rules:
            pattern = rule.pattern
            if pattern.literal is not None:
                self._by_name.setdefault(pattern.literal, []).append(rule.number)
            elif len(pattern.suffix) > len(pattern.prefix):
                self._by_suffix.setdefault(pattern.suffix, []).append(rule.number)
            else:
                self._by_prefix.setdefault(pattern.prefix, []).append(rule.number)
        self._prefix_sizes = sorted({len(text) for text in self._by_prefix})
        self._suffix_sizes = sorted({len(text) for text in self._by_suffix})

    def first(self, name: str) -> tuple[Rule, Caught] | None:
        """The first rule that matches ``name`` and what it caught."""
        for number in self._candidates(name):
            rule = self.rules[number]
            caught = match(rule, name)
            if caught is not None:
                return rule, caught
        return None

    def _candidates(self, name: str) -> list[int]:
        """Numbers of the rules that may match, in order."""
        found = list(self._by_name.get(name, ()))
        for size in self._prefix_sizes:
            numbers = self._by_prefix.get(name[:size])
            if numbers:
                found += numbers
        for size in self._suffix_sizes:
            numbers = self._by_suffix.get(name[-size:])
            if numbers:
                found += numbers
        found.sort()
        return found


def match(rule: Rule, name: str) -> Caught | None:
    """Match one rule; a pattern that gives up says which rule it is."""
    try:
        return rule.pattern.match(name)
    except MappingError as error:
        problems = (problem._replace(where=rule.place) for problem in error.problems)
        raise MappingError(*problems) from error


def compile_rules(
    document: Document,
    *,
    target: str | None = None,
    params: Mapping[str, Scalar] | None = None,
    slots: str | None = None,
    unmatched: str | None = None,
) -> RuleSet:
    """The rules of a document.  Arguments that are given win over what the document says.

    Raises :class:`MappingError` with every problem, MAP008 for what a names-only remap to ``tf1``
    cannot do.
    """
    compiler = _Compiler(document, params or {})
    compiler.refuse_unavailable(target)
    rules = compiler.rules()
    if compiler.problems:
        raise MappingError(*compiler.problems)
    default = "error" if rules else "keep"
    return RuleSet(
        rules,
        label=document.label,
        slots=slots or (document.slots.text if document.slots else "follow"),
        averages=document.averages.text if document.averages else None,
        unmatched=unmatched or (document.unmatched.text if document.unmatched else default),
        assumes=document.assumes,
    )


def quick_rules(
    *,
    add_prefix: str = "",
    strip_prefix: str = "",
    rename: Iterable[str] = (),
    drop: Iterable[str] = (),
    slots: str | None = None,
    unmatched: str | None = None,
) -> RuleSet:
    """Rules without a file: ``drop`` patterns, then ``rename`` (``old=new``), then prefixes.

    Prefixes are plain text and need not end in a slash.  A name that has ``strip_prefix`` loses
    it; every name gets ``add_prefix``.
    """
    rules: list[Rule] = []
    problems: list[Problem] = []

    def add(label: str, source: str, target: str | None) -> None:
        try:
            pattern = _pattern(source, {})
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
        rules.append(_prefix_rule(len(rules), label, strip_prefix, add_prefix))
    if add_prefix:
        label = f"--add-prefix {add_prefix}"
        rules.append(_prefix_rule(len(rules), label, "", add_prefix, bool(rules)))
    if problems:
        raise MappingError(*problems)
    return RuleSet(rules, label=_QUICK, slots=slots or "follow", unmatched=unmatched or "keep")


def _prefix_rule(number: int, label: str, old: str, new: str, optional: bool = False) -> Rule:
    text = f"{escape(old)}**" if old else "**"
    pattern = Pattern(text, atoms=prefix_atoms(old))
    template = Template("**")
    template.atoms = prefix_atoms(new)
    return Rule(number, label, label, pattern, template, optional)


def _split_pair(pair: str) -> tuple[str, bool, str]:
    """Old and new of ``old=new``; ``\\=`` is an equals sign in a name."""
    found = re.match(r"((?:\\.|[^\\=])*)=(.*)\Z", pair, re.DOTALL)
    return (found[1], True, found[2]) if found else (pair, False, "")


def _pattern(text: str, where: dict[str, tuple[str, ...]]) -> Matcher:
    return RegexPattern(text, where) if text.startswith(MARK) else Pattern(text, where)


class _Compiler:
    """Turns a document's rules into compiled ones, collecting problems."""

    def __init__(self, document: Document, params: Mapping[str, Scalar]) -> None:
        self.problems: list[Problem] = []
        self._document = document
        self._params = {**document.params, **params}
        for name in params:
            if name not in document.params:
                self._say(
                    "MAP004",
                    f"the mapping has no parameter {name}",
                    document.label,
                    hint=_did_you_mean(name, document.params),
                )

    def _say(self, code: str, message: str, where: str, **more: str | None) -> None:
        self.problems.append(Problem(code, message, where, **more))

    def refuse_unavailable(self, target: str | None) -> None:
        """MAP008 for each thing that only a remap that changes tensors can do."""
        document = self._document
        wanted = document.target
        if target is None and wanted and wanted.text != "tf1":
            what = f"target {wanted.text}"
            self._unavailable(what, wanted.where, "name a target that is: tf1")
        if document.averages and document.averages.text == "use":
            self._unavailable("averages: use", document.averages.where)
        for rule in document.rules:
            if len(rule.sources) > 1:
                self._unavailable("several sources", rule.sources[1].where)
            if len(rule.targets) > 1:
                self._unavailable("several targets", rule.targets[1].where)
            if rule.apply is not None and rule.apply.value:
                self._unavailable("`apply`", rule.apply.where)
            for table in rule.tables:
                self._unavailable("a table in `where`", table.where)

    def _unavailable(self, what: str, where: str, hint: str | None = None) -> None:
        self._say("MAP008", f"{what} is not available for names-only remaps", where, hint=hint)

    def rules(self) -> list[Rule]:
        """All rules in order: those of ``rules``, then ``assign`` from the closest name on."""
        rules: list[Rule] = []
        for node in self._document.rules:
            if node.sources and (pattern := self._rule_pattern(node)):
                template = self._template(node, pattern)
                rule = Rule(len(rules), node.where, node.text, pattern, template, node.optional)
                rules.append(rule)
        pairs = sorted(
            self._document.assign, key=lambda pair: (pair[0].text.endswith("/"), -len(pair[0].text))
        )
        rules += [self._assigned(len(rules) + index, *pair) for index, pair in enumerate(pairs)]
        return rules

    def _rule_pattern(self, node: RuleNode) -> Matcher | None:
        source = node.sources[0]
        quote = re.escape if source.text.startswith(MARK) else escape
        where = {
            name.text: tuple(self._fill(item, str) for item in allowed)
            for name, allowed in node.conditions
        }
        try:
            pattern = _pattern(self._fill(source, quote), where)
        except PatternError as error:
            self._bad_pattern(source, error)
            return None
        for name, _ in node.conditions:
            if name.text not in pattern.captures:
                message = f"{{{name.text}}} is limited by `where` and not in `from`"
                self._say("MAP005", message, name.where, found=source.text)
        return pattern

    def _template(self, node: RuleNode, pattern: Matcher) -> Template | None:
        if not node.targets:
            return None
        target = node.targets[0]
        if target.text.startswith(MARK):
            self._say("MAP004", "`to` is no regular expression", target.where, found=target.text)
            return None
        try:
            template = Template(self._fill(target, escape))
        except PatternError as error:
            self._bad_pattern(target, error)
            return None
        lacking = template.lacking(pattern)
        if lacking:
            message = f"`to` uses {lacking}, which is not in `from`"
            found = node.sources[0].text
            names = sorted(name for name in pattern.captures if not name.isdigit())
            expected = ", ".join(f"{{{name}}}" for name in names) or None
            self._say("MAP005", message, target.where, found=found, expected=expected)
        return template

    def _bad_pattern(self, text: Text, error: PatternError) -> None:
        at = "" if error.position is None else f" (at character {error.position + 1})"
        self._say("MAP004", error.message, text.where, found=text.text + at)

    def _fill(self, text: Text, quote: object) -> str:
        """``text`` with its parameters in place, quoted so that they stand for themselves."""

        def value(found: re.Match[str]) -> str:
            name = found[1] or found[2]
            if name is None:
                return found[0]
            if name not in self._params:
                hint = _did_you_mean(name, self._params)
                message = f"unknown parameter ${name}"
                self._say("MAP004", message, text.where, found=text.text, hint=hint)
                return ""
            filled = str(self._params[name])
            return quote(filled) if callable(quote) else filled

        return _PARAMETER.sub(value, text.text) if "$" in text.text else text.text

    def _assigned(self, number: int, old: Text, new: Text) -> Rule:
        label = f"{old.text}: {new.text}"
        source, target = old.text, new.text
        if not source.endswith("/"):
            pattern, template = Pattern(escape(source)), Template(escape(target))
            return Rule(number, old.where, label, pattern, template)
        source, target = source.lstrip("/"), target.lstrip("/")  # "/" is the root
        rule = _prefix_rule(number, label, source, target)
        return rule._replace(where=old.where)


def _did_you_mean(name: str, known: Iterable[str]) -> str | None:
    known = list(known)
    close = nearest(name, known, 1)
    if close:
        return f"did you mean {close[0]}?"
    return f"known: {', '.join(known)}" if known else "no parameters are declared"
