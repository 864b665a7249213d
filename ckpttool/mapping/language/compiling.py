"""From a document to compiled rules, with every mistake reported at once."""

from __future__ import annotations

from collections.abc import Mapping

from ckpttool.errors import MappingError, Problem
from ckpttool.mapping.language.document import Document, Scalar, Text
from ckpttool.mapping.language.includes import Expanded, expand
from ckpttool.mapping.language.parameters import Scope, did_you_mean, fill
from ckpttool.mapping.language.patterns import Pattern, Template, escape
from ckpttool.mapping.language.quick import prefix_rule
from ckpttool.mapping.language.rule_compiler import RuleCompiler
from ckpttool.mapping.language.ruleset import Rule, RuleSet


def compile_rules(
    document: Document,
    *,
    target: str | None = None,
    params: Mapping[str, Scalar] | None = None,
    slots: str | None = None,
    averages: str | None = None,
    unmatched: str | None = None,
) -> RuleSet:
    """The rules of a document.  Arguments that are given win over what the document says.

    Raises :class:`MappingError` with every problem.
    """
    expanded = expand(document, params or {})
    compiler = _Compiler(expanded)
    compiler.check_parameters(params or {})
    rules = compiler.rules()
    assumes = compiler.assumes()
    if compiler.problems:
        raise MappingError(*compiler.problems)
    wanted = document.target
    if target is not None:
        wanted = wanted if wanted and wanted.text == target else Text(target, "")
    return RuleSet(
        rules,
        label=document.label,
        slots=slots or (document.slots.text if document.slots else None),
        averages=averages or (document.averages.text if document.averages else None),
        unmatched=unmatched
        or (document.unmatched.text if document.unmatched else "error" if rules else "keep"),
        assumes=assumes,
        caveats=expanded.caveats,
        target=wanted,
        optimizer=document.optimizer,
    )


class _Compiler:
    """Turns a document's rules into compiled ones, collecting problems."""

    def __init__(self, expanded: Expanded) -> None:
        self.problems: list[Problem] = []
        self._expanded = expanded

    def check_parameters(self, given: Mapping[str, Scalar]) -> None:
        """MAP004 for a parameter that no file has, MAP023 for one that has to be given."""
        known = [name for file in self._expanded.files for name in file.params]
        label = self._expanded.document.label
        for name in given:
            if name not in known:
                hint = did_you_mean(name, known)
                message = f"the mapping has no parameter {name}"
                self.problems.append(Problem("MAP004", message, label, hint=hint))
        for name, value in self._expanded.document.params.items():
            if value is None and name not in given:
                message = f"the parameter {name} has to be given"
                hint = f"--set {name}=…"
                self.problems.append(Problem("MAP023", message, label, hint=hint))

    def rules(self) -> list[Rule]:
        """All rules in order: those of ``rules``, then ``assign`` from the closest name on."""
        rules: list[Rule] = []
        for scoped in self._expanded.rules:
            compiler = RuleCompiler(scoped.scope, self.problems)
            rules += compiler.compile(scoped.node, len(rules))
        pairs = sorted(
            self._expanded.assign,
            key=lambda pair: (pair[0].text.endswith("/"), -len(pair[0].text)),
        )
        rules += [
            self._assigned(len(rules) + at, old, new) for at, (old, new, _) in enumerate(pairs)
        ]
        # A required parameter is told once, not wherever it is used.
        self.problems[:] = list(dict.fromkeys(self._without_repeats()))
        return rules

    def assumes(self) -> dict[str, Scalar]:
        """What the files assume, parameters in place."""
        out: dict[str, Scalar] = {}
        for name, value, scope in self._expanded.assumes:
            try:
                out[name] = _assumed(value, scope)
            except MappingError as error:
                self.problems += [p for p in error.problems if p.code != "MAP023"]
        return out

    def _without_repeats(self) -> list[Problem]:
        required = self._expanded.document.params
        told = {f"the parameter {name} has no value of its own" for name in required}
        return [item for item in self.problems if item.message not in told]

    def _assigned(self, number: int, old: Text, new: Text) -> Rule:
        label = f"{old.text}: {new.text}"
        source, target = old.text, new.text
        if not source.endswith("/"):
            pattern, template = Pattern(escape(source)), Template(escape(target))
            return Rule(number, old.where, label, pattern, template)
        source, target = source.lstrip("/"), target.lstrip("/")  # "/" is the root
        rule = prefix_rule(number, label, source, target)
        return rule._replace(where=old.where)


def _assumed(value: Scalar, scope: Scope) -> Scalar:
    if not isinstance(value, str) or "$" not in value:
        return value
    if value.startswith("$") and value[1:].isidentifier():
        return scope.value(value[1:], scope.label)
    return fill(Text(value, scope.label), scope.value, None)
