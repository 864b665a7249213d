"""From one rule of a document to a compiled one."""

from __future__ import annotations

import re
from collections.abc import Callable

from ckpttool.errors import MappingError, Problem
from ckpttool.mapping.language.document import Condition, RuleNode, Text
from ckpttool.mapping.language.nodes import Node
from ckpttool.mapping.language.parameters import Scope, fill
from ckpttool.mapping.language.patterns import Matcher, Pattern, PatternError, Template, escape
from ckpttool.mapping.language.quick import any_pattern
from ckpttool.mapping.language.regexes import MARK
from ckpttool.mapping.language.ruleset import Extra, Rule, Test
from ckpttool.mapping.language.tables import Table, read_table
from ckpttool.mapping.language.templates import as_template
from ckpttool.mapping.transforms.chain import Chain

_NOTHING = Pattern("none")


class RuleCompiler:
    """Compiles the rules of one file; ``problems`` gets what is wrong."""

    def __init__(self, scope: Scope, problems: list[Problem]) -> None:
        self._scope = scope
        self.problems = problems

    def compile(self, node: RuleNode, number: int) -> list[Rule]:
        """The rule, as several where it drops several; none where its conditions rule it out."""
        holds = self._holds(node)
        if not node.targets and len(node.sources) > 1:
            parts = [node._replace(sources=(item,), where=item.where) for item in node.sources]
        else:
            parts = [node]
        rules = [self._rule(part, number + at) for at, part in enumerate(parts)]
        return [rule for rule in rules if rule is not None and holds]

    def _rule(self, node: RuleNode, number: int) -> Rule | None:
        before = len(self.problems)
        tables = self._tables(node)
        where = self._limits(node, tables)
        patterns = [self._pattern(source, where) for source in node.sources]
        if None in patterns or (not node.sources and not node.targets):
            return None
        matchers = [item for item in patterns if item is not None]
        first = matchers[0] if matchers else None
        self._check_limits(node, first)
        others = self._others(node, matchers)
        targets = [self._template(text, node, first, tables) for text in node.targets]
        chain = self._chain(node.apply)
        tests = self._tests(node.when, first, tables)
        self._check_counters(node, first, targets)
        if len(self.problems) == before:
            self._check_count(node, chain)
        if len(self.problems) > before:
            return None
        templates = [item for item in targets if item is not None]
        extra = Extra(
            tuple(others),
            tuple(templates),
            tuple(item.where for item in node.targets),
            tuple(tables),
            tuple(tests),
            chain if chain is not None and len(chain) else None,
            node.collect.text if node.collect else None,
            node.spread.text if node.spread else None,
            node.apply.where if node.apply is not None else "",
        )
        plain = Extra(targets=extra.targets, places=extra.places, apply_where=extra.apply_where)
        simple = extra == plain and len(templates) < 2 and first is not None
        template = templates[0] if templates else None
        return Rule(
            number, node.where, node.text, first, template, node.optional, None if simple else extra
        )

    def _say(self, code: str, message: str, where: str, **more: str | None) -> None:
        self.problems.append(Problem(code, message, where, **more))

    # --- sources ---------------------------------------------------------------------------

    def _tables(self, node: RuleNode) -> list[Table]:
        def words(text: Text) -> str:
            return self._fill(text, None)

        read = (read_table(name, value, words, self.problems) for name, value in node.tables)
        return [table for table in read if table is not None]

    def _limits(self, node: RuleNode, tables: list[Table]) -> dict[str, tuple[str, ...]]:
        limits = {
            name.text: tuple(self._fill(item, None) for item in allowed)
            for name, allowed in node.conditions
        }
        limits.update((table.name, tuple(table.rows)) for table in tables)
        return limits

    def _pattern(self, source: Text, where: dict[str, tuple[str, ...]]) -> Matcher | None:
        quote = re.escape if source.text.startswith(MARK) else escape
        try:
            return any_pattern(self._fill(source, quote), where)
        except PatternError as error:
            self._bad_pattern(source, error)
            return None

    def _check_limits(self, node: RuleNode, first: Matcher | None) -> None:
        """Limits are about captures, and hold a slash only where these may."""
        pattern = first or _NOTHING
        names = [
            *((name, [(item.text, item.where) for item in allowed])
              for name, allowed in node.conditions),
            *((name, [(key.text, key.where) for key, _ in table.value])
              for name, table in node.tables),
        ]  # fmt: skip
        for name, allowed in names:
            if name.text not in pattern.captures:
                message = f"{{{name.text}}} is limited by `where` and not in `from`"
                found = node.sources[0].text if node.sources else None
                self._say("MAP005", message, name.where, found=found)
                continue
            for text, where in allowed:
                if "/" in text and name.text not in pattern.paths:
                    hint = f"{{{name.text}:path}} may hold one"
                    self._say("MAP003", "a capture holds no /", where, found=text, hint=hint)

    def _others(self, node: RuleNode, matchers: list[Matcher]) -> list[tuple[Matcher, Template]]:
        """The sources beside the first, with what makes their names."""
        out: list[tuple[Matcher, Template]] = []
        for text, matcher in zip(node.sources[1:], matchers[1:], strict=True):
            if not isinstance(matcher, Pattern):
                message = "only the first of several sources may be a regular expression"
                self._say("MAP004", message, text.where, found=text.text)
                continue
            template = as_template(matcher.text, matcher.atoms)
            lacking = template.lacking(matchers[0])
            wrong = sorted(template.numbers - matchers[0].numbers)
            if lacking or (wrong and not matchers[0].loose):
                lacking = lacking or f"the number {{{wrong[0]}}}"
                message = f"this source has {lacking}, which is not in the first one"
                found = node.sources[0].text
                hint = "several names of one pattern are taken together with `collect`"
                self._say("MAP005", message, text.where, found=found, hint=hint)
            out.append((matcher, template))
        return out

    # --- targets ---------------------------------------------------------------------------

    def _template(
        self, target: Text, node: RuleNode, first: Matcher | None, tables: list[Table]
    ) -> Template | None:
        if target.text.startswith(MARK):
            self._say("MAP004", "`to` is no regular expression", target.where, found=target.text)
            return None
        return self._filled(target, "`to`", first, tables, node.spread)

    def _filled(
        self,
        text: Text,
        what: str,
        first: Matcher | None,
        tables: list[Table],
        spread: Text | None = None,
    ) -> Template | None:
        """The template of a text that may use what the rule catches."""
        try:
            template = Template(self._fill(text, escape))
        except PatternError as error:
            self._bad_pattern(text, error)
            return None
        pattern = first or _NOTHING
        more = {name for table in tables for name in table.gives}
        numbers = pattern.numbers.union(*(table.numbers for table in tables))
        if spread:
            more.add(spread.text)
            numbers |= {spread.text}
        lacking = template.lacking(pattern, frozenset(more))
        source = first.text if first else None
        if lacking:
            message = f"{what} uses {lacking}, which is not in `from`"
            known = sorted(name for name in {*pattern.captures, *more} if not name.isdigit())
            expected = ", ".join(f"{{{name}}}" for name in known) or None
            self._say("MAP005", message, text.where, found=source, expected=expected)
        for name in sorted(template.numbers - numbers) if not lacking else ():
            if not pattern.loose:
                message = f"{what} counts with {{{name}}}, which is no number in `from`"
                self._say("MAP005", message, text.where, found=source, hint=f"{{{name}:int}}")
        return template

    def _chain(self, node: Node | None) -> Chain | None:
        if node is None:
            return None
        from ckpttool.mapping.transforms.parse import parse_chain

        try:
            return parse_chain(node, self._scope.value)
        except MappingError as error:
            self.problems += error.problems
            return None

    def _check_counters(
        self, node: RuleNode, first: Matcher | None, targets: list[Template | None]
    ) -> None:
        """`collect` counts in `from` and `spread` in `to` alone."""
        numbers = first.numbers if first else frozenset()
        if node.collect and node.collect.text not in numbers:
            message = (
                f"`collect` names a number of `from`: {{{node.collect.text}:int}} is not there"
            )
            self._say("MAP005", message, node.collect.where, found=first.text if first else None)
        for text, template in zip(node.targets, targets, strict=True):
            used = template.captures if template else frozenset()
            if node.collect and node.collect.text in used:
                message = f"{{{node.collect.text}}} is another for each source that is collected"
                self._say("MAP005", message, text.where)
            if node.spread and template and node.spread.text not in used:
                message = f"`to` does not use {{{node.spread.text}}}: all results have one name"
                self._say("MAP005", message, text.where)
        if node.spread and first and node.spread.text in first.captures:
            message = f"{{{node.spread.text}}} is in `from` already"
            self._say("MAP005", message, node.spread.where)

    def _check_count(self, node: RuleNode, chain: Chain | None) -> None:
        """MAP017 where it is plain without shapes that results and targets do not go together."""
        count: int | None = None if node.collect else len(node.sources)
        if not node.targets or not node.sources or node.spread:
            return
        if chain is not None:
            count = chain.outputs(count)
        if count is not None and count not in (1, len(node.targets)):
            where = node.apply.where if node.apply is not None else node.where
            what = f"{count} arrays for {len(node.targets)} names in `to`"
            hint = (
                None
                if chain is not None and len(chain)
                else "join them: apply: [{concat: {axis: 0}}]"
            )
            self._say(
                "MAP017", "a rule gives one array for each target", where, found=what, hint=hint
            )

    # --- conditions ------------------------------------------------------------------------

    def _holds(self, node: RuleNode) -> bool:
        """Whether the parameters are as `when` wants them."""
        for condition in node.when:
            if condition.kind != "param":
                continue
            try:
                value = self._scope.value(condition.text.text, condition.text.where)
            except MappingError as error:
                self.problems += error.problems
                return False
            if str(value).lower() not in {str(item).lower() for item in condition.values}:
                return False
        return True

    def _tests(
        self, conditions: tuple[Condition, ...], first: Matcher | None, tables: list[Table]
    ) -> list[Test]:
        out = []
        for kind, text, _ in conditions:
            if kind != "param":
                template = self._filled(text, f"`{kind}`", first, tables)
                if template is not None:
                    out.append(Test(kind == "exists", template))
        return out

    def _bad_pattern(self, text: Text, error: PatternError) -> None:
        at = "" if error.position is None else f" (at character {error.position + 1})"
        self._say("MAP004", error.message, text.where, found=text.text + at)

    def _fill(self, text: Text, quote: Callable[[str], str] | None) -> str:
        try:
            return fill(text, self._scope.value, quote)
        except MappingError as error:
            self.problems += error.problems
            return "?"
